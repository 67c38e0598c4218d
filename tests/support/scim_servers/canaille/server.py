"""Canaille with its SQL backend and one client, whose token is the test's."""

import datetime
import io
import os
import uuid

from canaille import create_app
from canaille.app import models
from canaille.backends import Backend
from joserfc.jwk import RSAKey

home = os.environ["SCIM_SERVER_HOME"]
canaille = create_app(
    config={
        "SECRET_KEY": str(uuid.uuid4()),
        "SERVER_NAME": None,
        "CANAILLE": {"DATABASE": "sql", "JAVASCRIPT": False},
        "CANAILLE_SQL": {"DATABASE_URI": f"sqlite:///{home}/database"},
        "CANAILLE_OIDC": {"ACTIVE_JWKS": [RSAKey.generate_key(2048).as_dict(private=True)]},
        "CANAILLE_SCIM": {"ENABLE_SERVER": True},
    },
    init_backend=True,
)
now = datetime.datetime.now(datetime.timezone.utc)
with canaille.app_context():
    client = models.Client(client_id="relay", client_name="relay", client_secret=str(uuid.uuid4()))
    Backend.instance.save(client)
    token = models.Token(
        token_id="relay",
        access_token=os.environ["SCIM_SERVER_TOKEN"],
        client=client,
        type="Bearer",
        scope=["openid"],
        issue_date=now,
        lifetime=86_400,
    )
    Backend.instance.save(token)


def application(environ, start_response):
    """Serve one request, and print what was asked and answered."""
    asked = environ["wsgi.input"].read()
    environ["wsgi.input"] = io.BytesIO(asked)
    noted = []

    def noting(status, headers, exc_info=None):
        noted.append(status)
        return start_response(status, headers, exc_info)

    answer = b"".join(canaille(environ, noting))
    said = answer.decode(errors="replace")
    print(environ["REQUEST_METHOD"], environ["RAW_URI"], asked.decode(), "->", *noted, said, flush=True)
    return [answer]
