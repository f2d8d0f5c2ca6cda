"""Drives filessession-fake with the standard library of Python 3.

    client.py API CONTROL

The user alice has a TOTP secret. SSL_CERT_FILE names the certificate to trust.
"""
import base64
import hashlib
import hmac
import json
import struct
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

API, CONTROL = sys.argv[1] + "/api/rest/v1", sys.argv[2]
SECRET = "JBSWY3DPEHPK3PXP"
FORM = "application/x-www-form-urlencoded"


def send(method, url, body=None, content_type=FORM, session=None):
    """Returns the status and the decoded JSON of an answer."""
    request = urllib.request.Request(url, data=body, method=method)
    if body is not None:
        request.add_header("Content-Type", content_type)
    if session is not None:
        request.add_header("X-FilesAPI-Auth", session)
    try:
        answer = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as refusal:
        answer = refusal
    with answer:
        text = answer.read()
        return answer.status, json.loads(text) if text else None


def control(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    status, answer = send(method, CONTROL + path, data, "application/json")
    equal(status, 200)
    return answer


def equal(got, want):
    if got != want:
        raise SystemExit(f"got {got!r}, want {want!r}")


def totp(moved=0):
    """The code of RFC 6238 at this time, for a clock that has moved by so many seconds."""
    step = int(time.time() + moved) // 30
    mac = hmac.new(base64.b32decode(SECRET), struct.pack(">Q", step), hashlib.sha1).digest()
    at = mac[-1] & 15
    return "%06d" % ((struct.unpack(">I", mac[at:at + 4])[0] & 0x7FFFFFFF) % 1000000)


def log_in(**params):
    return send("POST", API + "/sessions", urllib.parse.urlencode(params).encode())


# Wrong password, demand of a second factor, code.
status, answer = log_in(username="alice", password="guess")
equal((status, answer["type"]), (401, "not-authenticated/invalid-username-or-password"))
status, answer = log_in(username="alice", password="secret")
equal((status, answer["type"]), (401, "not-authenticated/two-factor-authentication-error"))
equal(answer["data"]["two_factor_authentication_methods"], ["totp"])
status, answer = log_in(username="alice", password="secret", otp=totp())
equal(status, 201)
session = answer["id"]
equal(send("GET", API + "/folders/", session=session), (200, []))
status, site = send("GET", API + "/site", session=session)
equal(site["session"]["timeout_at"], answer["timeout_at"])

# A user whose password has a colon, by JSON and by multipart.
equal(control("POST", "/users", {"username": "bob", "password": "a:b"}), {})
body = json.dumps({"username": "bob", "password": "a:b", "no_cookie": True}).encode()
status, answer = send("POST", API + "/sessions", body, "application/json")
equal(status, 201)
bob = answer["id"]
body = b"".join(
    b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % part
    for part in [(b"username", b"bob"), (b"password", b"a:b")]
) + b"--x--\r\n"
status, answer = send("POST", API + "/sessions", body, "multipart/form-data; boundary=x")
equal(status, 201)

# Sessions that are ended for a user, and by the clock.
equal(control("POST", "/expire", {"user": "alice"}), {"ended": 1})
status, answer = send("GET", API + "/folders/", session=session)
equal((status, answer["type"]), (401, "not-authenticated/invalid-credentials"))
equal(send("GET", API + "/folders/", session=bob)[0], 200)
control("POST", "/advance", {"by": "6h"})
equal(send("GET", API + "/folders/", session=bob)[0], 401)
equal(log_in(username="alice", password="secret", otp=totp(6 * 3600))[0], 201)

# A fault, a log-out, counts and journal.
control("POST", "/faults", {"method": "POST", "status": 503})
equal([log_in(username="bob", password="a:b")[0] for _ in range(2)], [503, 201])
status, answer = log_in(username="bob", password="a:b")
equal(send("DELETE", API + "/sessions", session=answer["id"])[0], 204)
counts = control("GET", "/counts")
equal((counts["logins"], counts["refused"], counts["logouts"]), (6, 2, 1))
equal(counts["live_by_user"], {"alice": 1, "bob": 1})
reasons = [entry["reason"] for entry in control("GET", "/requests") if entry["status"] == 401]
equal(reasons, ["wrong password of user alice", "a second factor is required",
                "the test has ended the session", "the session has timed out"])
equal(control("POST", "/reset"), {})
equal(control("GET", "/counts")["live"], 0)
print("ok")
