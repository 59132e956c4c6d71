#!/usr/bin/env bash
# Makes a test CA and server certificates signed by it. For tests and trials only: see README.md.
#   certs/make.sh FOLDER NAME[,NAME...] ...
# Each argument after the folder is one certificate: its first name names the files, all its names stand in
# the certificate (a name may be `*.example.org`, or an IP address). An existing CA in FOLDER is used again,
# so that names can be added later and clients need to trust one file only.
set -euo pipefail
umask 077 # the keys are for their owner only

die() { echo "make.sh: $*" >&2; exit 1; }
[ $# -ge 2 ] || die "usage: $0 FOLDER NAME[,NAME...] ..."
command -v openssl >/dev/null || die "openssl is missing: apt-get install openssl"

DAYS=825 # the longest that current client platforms accept from a private CA
folder=$1
shift
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null; }

if [ ! -s "$folder/ca.key" ]; then
  key "$folder/ca.key"
  cat >"$scratch/ca.cnf" <<'CNF'
[req]
distinguished_name = dn
prompt = no
x509_extensions = ext
[dn]
CN = Jackdaw test CA
[ext]
basicConstraints = critical,CA:TRUE,pathlen:0
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
CNF
  openssl req -x509 -new -sha256 -days "$DAYS" -config "$scratch/ca.cnf" -key "$folder/ca.key" -out "$folder/ca.crt"
fi

for names in "$@"; do
  IFS=, read -ra list <<<"$names"
  first=${list[0]}
  alt=""
  for name in "${list[@]}"; do
    if [[ $name =~ ^[0-9.]+$ || $name == *:* ]]; then alt+="${alt:+,}IP:$name"; else alt+="${alt:+,}DNS:$name"; fi
  done
  file=$folder/${first/\*/wildcard}
  key "$file.key"
  # The subject is left short and without the name: clients read subjectAltName (RFC 6125 section 6.4.4),
  # and a CN ends at 64 characters, which a domain may pass.
  printf '[req]\ndistinguished_name = dn\nprompt = no\n[dn]\nO = Jackdaw test certificate\n' >"$scratch/leaf.cnf"
  # serverAuth only, as public CAs issue now; s2s has to live with that too.
  printf 'basicConstraints = critical,CA:FALSE\nkeyUsage = critical,digitalSignature\nextendedKeyUsage = serverAuth\nsubjectAltName = %s\n' \
    "$alt" >"$scratch/leaf.ext"
  openssl req -new -sha256 -config "$scratch/leaf.cnf" -key "$file.key" -out "$scratch/leaf.csr"
  openssl x509 -req -sha256 -days "$DAYS" -in "$scratch/leaf.csr" -CA "$folder/ca.crt" -CAkey "$folder/ca.key" \
    -set_serial "0x$(openssl rand -hex 16 | sed 's/^./1/')" -extfile "$scratch/leaf.ext" -out "$file.crt" 2>/dev/null
  echo "$file.crt"
done
chmod 644 "$folder"/*.crt
