"""What schemathesis sends stays on this machine and gets far: hosts that requests name are this one, and what it guesses
at in directories' own notations are sound samples, and ids are those of objects that are there.

Each connection comes from an address of its own within 127/8, as the relay refuses an address that sends many requests
without a valid token, which is what some checks do.
"""

import datetime
import itertools
import json
import os

import schemathesis
import urllib3.connection
from hypothesis import strategies
from schemathesis.core import NotSet
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation.meta import TestPhase

PORT = int(os.environ["SLAPD_PORT"])
SUFFIX = os.environ["SLAPD_SUFFIX"]
TOMORROW = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
# Each takes the place of a value of its own type.
SOUND = {
    "host": "127.0.0.1",
    "port": PORT,
    "useTLS": False,
    "startTLS": False,
    "allowPlainLdap": True,
    "url": f"ldap://127.0.0.1:{PORT}",
    "caCertificate": None,
    "clientCertificate": None,
    "clientKey": None,
    "bindDN": os.environ["SLAPD_READER"],
    "bindPassword": os.environ["SLAPD_PASSWORD"],
    "anchorAttribute": "entryUUID",
    "userObjectClasses": ["person"],
    "disabledWhen": ["employeeType=former"],
    "profiles": [{"name": "second", "synchronizeGroups": False}],
    "profile": "default",
    "entry": os.environ["SLAPD_ENTRY"],
    "tenants": ["acme"],
    "expiresAt": TOMORROW.isoformat(),
    "emailVerifiedAttribute": "urn:example:2.0:User:emailVerified",
    # Nothing listens there.
    "baseUrl": "http://127.0.0.1:1",
    "tokenUrl": "http://127.0.0.1:1/token",
    "headers": {"X-Region": "eu"},
    "privateKey": os.environ["PRIVATE_KEY"],
}
# Of two that contradict each other, the one to leave out.
CONTRADICTIONS = {"url": "host", "syncSchedule": "syncInterval", "expiresInDays": "expiresAt"}
OBJECTS = json.loads(os.environ["OBJECTS"])
# Of what there is none, the id of one that is not there.
NOBODY = "01a20000-0000-7000-8000-000000000000"

FORMATS = {
    "ldap-dn": [SUFFIX, f"ou=people,{SUFFIX}", f"ou=groups,{SUFFIX}"],
    "ldap-filter": ["(objectClass=person)", "(&(objectClass=*)(!(uid=a*)))", "(objectClass=groupOfNames)"],
    "cron": ["", "0 3 * * *", "*/15 * * * *"],
    "interval": ["30s", "15m", "4h", "7d"],
}
for name, samples in FORMATS.items():
    schemathesis.openapi.format(name, strategies.sampled_from(samples))


def sound(value):
    """The same value with a sound one for each that is of the right type but only a guess."""
    if isinstance(value, list):
        return [sound(item) for item in value]
    if not isinstance(value, dict):
        return value
    left_out = {name for name, other in CONTRADICTIONS.items() if other in value}
    left_out |= {name for name in value if name in SOUND and SOUND[name] is None}
    return {
        name: SOUND[name] if is_guess(name, item) else sound(item)
        for name, item in value.items()
        if not (name in left_out and isinstance(item, (str, int)))
    }


def is_guess(name, item):
    if name == "port":
        return type(item) is int and 1 <= item <= 65_535
    if name == "headers":
        return isinstance(item, dict) and all(is_header(value) for value in item.values())
    if isinstance(item, list) and isinstance(SOUND.get(name), list):
        kind = type(SOUND[name][0])
        return (len(item) > 0 or name == "profiles") and all(isinstance(part, kind) for part in item)
    return name in SOUND and type(item) is type(SOUND[name]) and item != ""


def is_header(value):
    if isinstance(value, dict):
        return set(value) == {"secret"} and is_header(value["secret"])
    return isinstance(value, str) and value != ""


@schemathesis.hook
def before_call(context, case, kwargs):
    meta = case.meta
    if not isinstance(case.body, NotSet):
        case.body = sound(case.body)
    if meta is None:
        return
    # A cursor is only what an earlier answer gave, which no schema can say.
    if case.query and meta.generation.mode.is_positive:
        case.query.pop("cursor", None)
        if "attribute" in case.query:
            case.query["attribute"] = "displayName"
    # Ids of what is there; requests that follow from others have them already.
    if meta.phase.name != TestPhase.STATEFUL and not meta.is_negative_at(ParameterLocation.PATH):
        # What is deleted is not what the other requests are about.
        objects = OBJECTS["doomed" if case.method == "DELETE" else "kept"]
        for name in case.path_parameters:
            case.path_parameters[name] = objects.get(name, NOBODY)
    if not meta.is_negative_at(ParameterLocation.HEADER):
        case.headers["X-Tenant-ID"] = "acme"


class Connection(urllib3.connection.HTTPConnection):
    """A connection that takes the next address each time it is opened."""

    addresses = itertools.count(1)

    def _new_conn(self):
        number = next(Connection.addresses)
        self.source_address = (f"127.{1 + number // 62_500}.{number // 250 % 250}.{1 + number % 250}", 0)
        return super()._new_conn()


urllib3.connectionpool.HTTPConnectionPool.ConnectionCls = Connection
