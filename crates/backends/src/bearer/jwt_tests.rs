//! Tokens of every algorithm, made here, and what is wrong with others.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use super::*;

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

struct Ed(Ed25519KeyPair);

impl Ed {
    fn new() -> Ed {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        Ed(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("a key"))
    }

    fn jwk(&self, kid: &str) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "use": "sig", "x": encode(self.0.public_key())})
    }

    fn sign(&self, head: Value, claims: Value) -> String {
        let signed = format!("{}.{}", encode(head.to_string()), encode(claims.to_string()));
        let signature = encode(self.0.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

fn keys(keys: Value) -> Vec<Key> {
    Key::read_all(json!({"keys": keys}).to_string().as_bytes()).expect("a set")
}

/// What `user` the token claims.
fn claimed(token: &str, keys: &[Key]) -> Result<String, Wrong> {
    let claims = Unverified::read(token)?.claims(keys)?;
    Ok(claims["user"].as_str().expect("a string").to_owned())
}

fn wrong(why: &'static str) -> Result<String, Wrong> {
    Err(Wrong::Token(why))
}

fn juliet() -> Value {
    json!({"user": "juliet"})
}

#[test]
fn a_signature_of_ed25519() {
    let (ed, other) = (Ed::new(), Ed::new());
    let token = ed.sign(json!({"alg": "EdDSA", "kid": "a", "typ": "at+jwt"}), juliet());
    let known = keys(json!([ed.jwk("a"), other.jwk("b")]));
    assert_eq!(claimed(&token, &known), Ok("juliet".to_owned()));
    // Without a name each is tried.
    let unnamed = other.sign(json!({"alg": "EdDSA"}), juliet());
    assert_eq!(claimed(&unnamed, &known), Ok("juliet".to_owned()));
    // Of the key of that name, and no other.
    let foreign = other.sign(json!({"alg": "EdDSA", "kid": "a"}), juliet());
    assert_eq!(claimed(&foreign, &known), wrong("its signature is not right"));
    let unknown = ed.sign(json!({"alg": "EdDSA", "kid": "c"}), juliet());
    assert_eq!(claimed(&unknown, &known), wrong("no key of its provider fits"));
    assert!(!Unverified::read(&unknown).expect("read").fits(&known));
}

#[test]
fn a_signature_of_p256() {
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).expect("a key");
    let point = pair.public_key().as_ref();
    let known = keys(json!([{
        "kty": "EC", "crv": "P-256", "alg": "ES256", "x": encode(&point[1..33]), "y": encode(&point[33..]),
    }]));
    let signed = format!("{}.{}", encode("{\"alg\":\"ES256\"}"), encode(juliet().to_string()));
    let signature = pair.sign(&random, signed.as_bytes()).expect("signed");
    let token = format!("{signed}.{}", encode(signature.as_ref()));
    assert_eq!(claimed(&token, &known), Ok("juliet".to_owned()));
    let changed = token.replace(&encode(juliet().to_string()), &encode("{\"user\":\"romeo\"}"));
    assert_eq!(claimed(&changed, &known), wrong("its signature is not right"));
}

/// RFC 7515 appendix A.2 has a token of RS256 with its key.
#[test]
fn a_signature_of_rsa() {
    let n = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
    let token = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    let read = |token: &str, alg: Value| {
        let known = keys(json!([{"kty": "RSA", "n": n, "e": "AQAB", "alg": alg}]));
        Unverified::read(token)?.claims(&known)
    };
    let claims = read(token, json!(null)).expect("the signature of the RFC");
    assert_eq!(claims["iss"], "joe");
    assert!(read(token, json!("RS256")).is_ok());
    assert!(read(token, json!("RS512")).is_err(), "the key is for something else");
    let broken = token.replace("cC4h", "cC4i");
    assert_eq!(
        read(&broken, json!(null)).unwrap_err(),
        Wrong::Token("its signature is not right")
    );
}

/// What the head of a token asks for chooses among the algorithms, and never among the kinds of key.
#[test]
fn no_other_algorithm_is_taken() {
    let ed = Ed::new();
    let known = keys(json!([ed.jwk("a")]));
    for alg in ["none", "None", "HS256", "HS512", "RS512", "PS256", "ES384", "eddsa", ""] {
        let token = ed.sign(json!({"alg": alg, "kid": "a"}), juliet());
        assert_eq!(claimed(&token, &known), wrong("its algorithm is not taken"), "{alg}");
    }
    for alg in ["RS256", "ES256"] {
        let token = ed.sign(json!({"alg": alg, "kid": "a"}), juliet());
        assert_eq!(claimed(&token, &known), wrong("no key of its provider fits"), "{alg}");
    }
    // Without a signature, or with that of HMAC under the public key.
    let unsigned = format!("{}.{}.", encode("{\"alg\":\"none\"}"), encode(juliet().to_string()));
    assert_eq!(claimed(&unsigned, &known), wrong("its algorithm is not taken"));
    let empty = format!("{}.{}.", encode("{\"alg\":\"EdDSA\"}"), encode(juliet().to_string()));
    assert_eq!(claimed(&empty, &known), wrong("its signature is not right"));
}

#[test]
fn what_is_no_token() {
    let ed = Ed::new();
    let known = keys(json!([ed.jwk("a")]));
    let good = ed.sign(json!({"alg": "EdDSA"}), juliet());
    for text in [
        "",
        "abc",
        "a.b",
        "..",
        &good.replace('.', ""),
        &format!("{good}."),
        &format!("{good}.{good}"),
        &format!("{good}="),
        &good.replacen("ey", "fy", 1),
    ] {
        assert!(claimed(text, &known).is_err(), "{text}");
    }
    for head in [
        json!({"alg": "EdDSA", "crit": ["exp"]}),
        json!({"alg": "EdDSA", "typ": "logout+jwt"}),
    ] {
        let token = ed.sign(head, juliet());
        assert_eq!(claimed(&token, &known), wrong("it is of another type"));
    }
    let list = ed.sign(json!({"alg": "EdDSA"}), json!(["juliet"]));
    assert_eq!(claimed(&list, &known), wrong("it claims nothing that can be read"));
}

#[test]
fn which_keys_are_read() {
    let ed = Ed::new();
    let with = |name: &str, value: Value| {
        let mut key = ed.jwk("a");
        key[name] = value;
        keys(json!([key])).len()
    };
    assert_eq!(with("use", json!("sig")), 1);
    assert_eq!(with("use", json!(null)), 1);
    assert_eq!(with("use", json!("enc")), 0);
    assert_eq!(with("alg", json!("EdDSA")), 1);
    assert_eq!(with("alg", json!("ES256")), 0);
    assert_eq!(with("crv", json!("Ed448")), 0);
    assert_eq!(with("kty", json!("oct")), 0);
    assert_eq!(with("x", json!("AAAA")), 0);
    assert_eq!(with("kid", json!(7)), 0);
    assert_eq!(keys(json!([1, "key", {}])).len(), 0, "what is no key is passed over");
    assert_eq!(keys(json!(vec![ed.jwk("a"); 2 * MAX_KEYS])).len(), MAX_KEYS);
    for text in ["", "{}", "[]", "{\"keys\":{}}"] {
        assert!(Key::read_all(text.as_bytes()).is_none(), "{text}");
    }
}
