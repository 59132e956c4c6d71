//! What an account reports of somebody it blocks (XEP-0377), and how the operator comes to know of it.

use testkit::{ArchiveQuery, Client, Server, Transport};

use crate::support::{chat, error_of, is_result, settle_durably};

const NS: &str = "urn:xmpp:reporting:1";

/// What a command prints; it must not fail.
fn reports(server: &Server, arguments: &[&str]) -> Vec<String> {
    let arguments = [&["reports"], arguments].concat();
    let output = server.jackdaw(&arguments, "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).expect("text");
    printed.lines().map(str::to_owned).collect()
}

fn report(jid: &str, content: &str) -> String {
    format!(
        "<block xmlns='urn:xmpp:blocking'><item jid='{jid}'><report xmlns='{NS}' reason='urn:xmpp:reporting:spam'>{content}\
         </report></item></block>"
    )
}

/// The reports about somebody, each as the words of its line.
fn about(server: &Server, arguments: &[&str], jid: &str) -> Vec<Vec<String>> {
    let lines = reports(server, arguments);
    let words = lines.iter().map(|line| line.split('\t').map(str::to_owned).collect());
    words.filter(|words: &Vec<String>| words[2] == jid).collect()
}

#[tokio::test]
async fn what_the_operator_reads() {
    let mut server = Server::with_users(3 * Transport::EVERY.len());
    for transport in Transport::EVERY {
        let mut account = Client::online(&server, transport, &server.user()).await;
        let mut spammer = Client::online(&server, transport, &server.user()).await;
        let mut friend = Client::online(&server, transport, &server.user()).await;
        let (bare, spam) = (account.bare().to_owned(), spammer.bare().to_owned());
        for address in [&*bare, bare.split_once('@').expect("an account").1] {
            let address = address.to_owned();
            let info = account
                .iq(
                    "get",
                    &address,
                    "<query xmlns='http://jabber.org/protocol/disco#info'/>",
                )
                .await;
            assert!(info.raw().contains(NS), "{info:?}");
        }
        spammer.send(chat(&bare, "Buy\tpills &amp; more")).await;
        settle_durably(&mut spammer, &bare).await;
        friend.send(chat(&bare, "a secret")).await;
        settle_durably(&mut friend, &bare).await;
        account.forget().await;
        let page = account.archive_page(&ArchiveQuery::new()).await;
        let ids: Vec<String> = page.ids().into_iter().map(str::to_owned).collect();
        assert_eq!(ids.len(), 2);

        // The message of the spammer, one of somebody else, and none.
        let named: String = [&*ids[0], &*ids[1], "nonsense"]
            .iter()
            .map(|id| format!("<stanza-id xmlns='urn:xmpp:sid:0' by='{spam}' id='{id}'/>"))
            .collect();
        let content = format!("{named}<text xml:lang='en'>Never came\n trouble</text><report-origin/>");
        is_result(&account.iq("set", "", &report(&spam, &content)).await, "");
        // Blocked it is all the same (section 6).
        spammer.send(chat(&bare, "again")).await;
        let refused = spammer.expect("<message type='error'/>").await;
        assert_eq!(error_of(&refused), "cancel/service-unavailable");

        let listed = about(&server, &["list"], &spam);
        let [line] = &listed[..] else { panic!("one: {listed:?}") };
        assert_eq!(line[3..], [bare.clone(), "spam".into(), "open".into()]);
        let id = line[0].clone();
        let shown = reports(&server, &["show", &id]);
        let expected = [
            format!("report\t{id}"),
            format!("at\t{}", line[1]),
            format!("of\t{spam}"),
            format!("by\t{bare}"),
            "reason\tspam".to_owned(),
            "text\tNever came  trouble".to_owned(),
            format!("message\t{}\tBuy pills & more", ids[0]),
            format!("message\t{}\t-", ids[1]),
            "message\tnonsense\t-".to_owned(),
            "may be forwarded to\tthe domain it is about".to_owned(),
        ];
        assert_eq!(shown, expected);
        assert!(server.logged(&id) > 0, "the log tells of it");
        assert_eq!(server.logged("pills"), 0, "and not what was written");

        // It is there after a crash, and while nothing runs.
        server.kill9();
        assert_eq!(reports(&server, &["show", &id]), expected);
        server.start();
        assert_eq!(reports(&server, &["show", &id]), expected);
        reports(&server, &["close", &id]);
        assert_eq!(about(&server, &["list"], &spam).len(), 0);
        assert_eq!(about(&server, &["list", "--all"], &spam)[0][5], "closed");
        let after = reports(&server, &["show", &id]);
        assert_eq!((&after[..10], after.len()), (&expected[..], 11));
        reports(&server, &["clear"]);
        assert_eq!(about(&server, &["list", "--all"], &spam).len(), 0);
        for arguments in [
            ["reports", "show", &id],
            ["reports", "close", &id],
            ["reports", "show", "x"],
        ] {
            let output = server.jackdaw(&arguments, "");
            assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        }
    }
}

#[tokio::test]
async fn no_more_than_enough() {
    let server = Server::builder()
        .users(2 * Transport::EVERY.len())
        .limit("reports_per_day", 3)
        .start();
    for transport in Transport::EVERY {
        let mut account = Client::online(&server, transport, &server.user()).await;
        let bare = account.bare().to_owned();
        let by = |server: &Server| {
            let lines = reports(server, &["list"]);
            lines
                .iter()
                .filter(|line| line.split('\t').nth(3) == Some(&*bare))
                .count()
        };
        is_result(&account.iq("set", "", &report("a@spam.example", "")).await, "");
        // Several at once, of which one has nothing to say.
        let item = |jid: &str, report: &str| format!("<item jid='{jid}'>{report}</item>");
        let report_of = |what: &str| format!("<report xmlns='{NS}' {what}/>");
        let several = format!(
            "<block xmlns='urn:xmpp:blocking'>{}{}{}</block>",
            item("b@spam.example", &report_of("reason='urn:xmpp:reporting:abuse'")),
            item("c@spam.example", ""),
            item("d@spam.example", &report_of("")),
        );
        is_result(&account.iq("set", "", &several).await, "");
        assert_eq!(by(&server), 3);
        is_result(&account.iq("set", "", &report("e@spam.example", "")).await, "");
        assert_eq!(by(&server), 3, "no more of it is kept");
        let list = account.iq("get", "", "<blocklist xmlns='urn:xmpp:blocking'/>").await;
        for name in ["a", "b", "c", "d", "e"] {
            assert!(list.raw().contains(&format!("{name}@spam.example")), "{list:?}");
        }
        // It comes with a block, or not at all.
        let alone = format!("<report xmlns='{NS}' reason='urn:xmpp:reporting:spam'/>");
        assert_eq!(
            error_of(&account.iq("set", "", &alone).await),
            "cancel/service-unavailable"
        );
        let mut other = Client::online(&server, transport, &server.user()).await;
        let refused = error_of(&other.iq("set", &bare, &report("f@spam.example", "")).await);
        assert_eq!(refused, "cancel/service-unavailable");
    }
    assert_eq!(reports(&server, &["list"]).len(), 3 * Transport::EVERY.len());
}
