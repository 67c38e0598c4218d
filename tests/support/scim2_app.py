"""The WSGI application of the tests' SCIM target: scim2-server with a bearer token and a log of requests.

The log line is written before the answer leaves, so a client that has the answer finds the line.
"""

import os
import threading

from scim2_models import ScimProvider
from scim2_server.memory import InMemoryStorage
from scim2_server.service import ScimService
from scim2_server.testserver.application import BEARER_TOKEN_SCHEME, BearerTokenApplication
from scim2_server.utils import (
    load_default_resource_types,
    load_default_schemas,
    load_default_service_provider_config,
)

config = load_default_service_provider_config()
config.authentication_schemes = [*(config.authentication_schemes or []), BEARER_TOKEN_SCHEME]
provider = ScimProvider.from_discovery(
    load_default_schemas().values(), load_default_resource_types().values(), config=config
)
service = ScimService(provider, secret=os.environ["SCIM2_SERVER_SECRET"])
scim = BearerTokenApplication(
    InMemoryStorage(), provider, service=service, bearer_tokens=[os.environ["SCIM2_SERVER_TOKEN"]]
)
with open(os.environ["SCIM2_SERVER_PID"], "w") as file:
    file.write(str(os.getpid()))
log = open(os.environ["SCIM2_SERVER_REQUESTS"], "a", buffering=1)
lock = threading.Lock()


def application(environ, start_response):
    """Serve one request and note its method, status and target, unless the test itself asks."""
    if "HTTP_X_TEST" in environ:
        return scim(environ, start_response)

    def noting(status, headers, exc_info=None):
        with lock:
            log.write(f"{environ['REQUEST_METHOD']} {status[:3]} {environ['RAW_URI']}\n")
        return start_response(status, headers, exc_info)

    return scim(environ, noting)
