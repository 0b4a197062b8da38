"""HTTP Message Signatures of the mesh by other means: RFC 9421, RFC 9530, HKDF and ECDH from Python's `cryptography`, written from the RFCs and the
README alone. Reads a list of tasks as JSON from stdin and writes the list of answers to stdout: "verify" answers true or false, "sign" the fields."""

import base64
import hashlib
import hmac
import json
import sys
import time

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

COMPONENTS = ["@method", "@authority", "@path", "content-type", "x-remora-src", "x-remora-dst", "x-remora-body", "x-remora-cb"]


class End:
    """One workload's message key: its certificate, and the private key where we hold it."""

    def __init__(self, described):
        der = base64.b64decode(described["certificate"])
        self.certificate = x509.load_der_x509_certificate(der)
        names = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (self.identity,) = names.get_values_for_type(x509.UniformResourceIdentifier)
        self.key_id = base64.urlsafe_b64encode(hashlib.sha256(der).digest()[:16]).rstrip(b"=").decode()
        key = described.get("privateKey")
        self.private_key = None if key is None else serialization.load_pem_private_key(key.encode(), None)


def shared_key(own, peer):
    secret = own.private_key.exchange(ec.ECDH(), peer.certificate.public_key())
    ends = sorted(f"{end.identity} {end.key_id}" for end in (own, peer))
    info = "\n".join(["remora-grpc-v1 hmac-sha256", *ends]).encode()
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(secret)


def read_item(text, at):
    """A string, an integer or a token-free parameter value of a structured field (RFC 9651 4.2.3.1)."""
    if text[at] == '"':
        end = at + 1
        value = ""
        while text[end] != '"':
            if text[end] == "\\":
                end += 1
            value += text[end]
            end += 1
        return value, end + 1
    end = at
    while end < len(text) and text[end] in "-0123456789":
        end += 1
    return int(text[at:end]), end


def read_signature_input(text):
    """The one member of the dictionary: its label, its components, its parameters, and its text without the label."""
    label, _, rest = text.partition("=")
    if rest[0] != "(":
        raise ValueError("not an inner list")
    at, components, parameters = 1, [], {}
    while rest[at] != ")":
        value, at = read_item(rest, at)
        components.append(value)
        while rest[at] == " ":
            at += 1
    at += 1
    while at < len(rest):
        if rest[at] != ";":
            raise ValueError(f"unexpected {rest[at]!r}")
        name_end = rest.index("=", at)
        name = rest[at + 1 : name_end]
        parameters[name], at = read_item(rest, name_end + 1)
    return label, components, parameters, rest


def signature_base(request, components, parameters_text):
    """RFC 9421 2.5."""
    lines = []
    for name in components:
        if name == "@method":
            value = request["method"]
        elif name == "@authority":
            value = request["authority"].lower().removesuffix(":80")
        elif name == "@path":
            value = request["path"].partition("?")[0]
        else:
            values = [value.strip() for field, value in request["fields"] if field.lower() == name]
            if not values:
                raise ValueError(f"no field {name}")
            value = ", ".join(values)
        lines.append(f'"{name}": {value}')
    lines.append(f'"@signature-params": {parameters_text}')
    return "\n".join(lines).encode()


def field(request, name):
    (value,) = [value for field, value in request["fields"] if field.lower() == name]
    return value


def digest_of(body):
    return "sha-256=:" + base64.b64encode(hashlib.sha256(body).digest()).decode() + ":"


def verify(task):
    request, src, dst = task["request"], End(task["src"]), End(task["dst"])
    try:
        label, components, parameters, text = read_signature_input(field(request, "signature-input"))
        signature_label, _, value = field(request, "signature").partition("=")
        if label != signature_label or value[0] != ":" or value[-1] != ":":
            return False
        signature = base64.b64decode(value[1:-1], validate=True)
        base = signature_base(request, components, text)
        if "content-digest" in components and field(request, "content-digest") != digest_of(base64.b64decode(task["body"])):
            return False
        if field(request, "x-remora-src") != src.identity or field(request, "x-remora-dst") != dst.identity:
            return False
        if parameters["alg"] == "hmac-sha256":
            if parameters["keyid"] != f"{src.key_id}.{dst.key_id}":
                return False
            return hmac.compare_digest(hmac.new(shared_key(dst, src), base, hashlib.sha256).digest(), signature)
        if parameters["keyid"] != src.key_id or len(signature) != 64:
            return False
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        src.certificate.public_key().verify(utils.encode_dss_signature(r, s), base, ec.ECDSA(hashes.SHA256()))
        return True
    except (ValueError, KeyError, IndexError, InvalidSignature):
        return False


def sign(task):
    src, dst, algorithm = End(task["src"]), End(task["dst"]), task["algorithm"]
    request = {**task["request"], "fields": list(task["request"]["fields"])}
    body = task["body"]
    components = COMPONENTS if body is None else [*COMPONENTS, "content-digest"]
    added = [["x-remora-src", src.identity], ["x-remora-dst", dst.identity], ["x-remora-cb", task["binding"]]]
    added.append(["x-remora-body", "stream" if body is None else "digest"])
    added.append(["x-remora-cert", base64.urlsafe_b64encode(src.certificate.public_bytes(serialization.Encoding.DER)).rstrip(b"=").decode()])
    if body is not None:
        added.append(["content-digest", digest_of(base64.b64decode(body))])
    request["fields"] += added
    created = int(time.time())
    key_id = f"{src.key_id}.{dst.key_id}" if algorithm == "hmac-sha256" else src.key_id
    text = "(" + " ".join(f'"{name}"' for name in components) + ")"
    text += f';created={created};expires={created + 30};nonce="{task["nonce"]}";keyid="{key_id}";alg="{algorithm}";tag="remora-grpc-v1"'
    base = signature_base(request, components, text)
    if algorithm == "hmac-sha256":
        signature = hmac.new(shared_key(src, dst), base, hashlib.sha256).digest()
    else:
        r, s = utils.decode_dss_signature(src.private_key.sign(base, ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    return [*added, ["signature-input", f"remora={text}"], ["signature", "remora=:" + base64.b64encode(signature).decode() + ":"]]


tasks = json.load(sys.stdin)
json.dump([{"verify": verify, "sign": sign}[task["do"]](task) for task in tasks], sys.stdout)
