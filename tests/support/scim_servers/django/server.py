"""django-scim2 with its stock adapters, in a project of one application with a database in the directory where it is started."""

import os

import django
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    AUTH_USER_MODEL="directory.User",
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.path.join(os.environ["SCIM_SERVER_HOME"], "database"),
            "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "directory", "django_scim"],
    MIDDLEWARE=["server.BearerToken", "django_scim.middleware.SCIMAuthCheckMiddleware"],
    ROOT_URLCONF="server",
    SCIM_SERVICE_PROVIDER={
        "NETLOC": "127.0.0.1",
        "SCHEME": "http",
        "GROUP_MODEL": "directory.models.Group",
        "AUTHENTICATION_SCHEMES": [{"type": "oauthbearertoken", "name": "Bearer", "description": "A fixed token"}],
    },
    SECRET_KEY="a secret of this test server, which keeps nothing",
    USE_TZ=True,
)
django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.urls import include, path  # noqa: E402


class BearerToken:
    """Lets the token in, and prints what was asked and answered."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        if request.headers.get("Authorization") == f"Bearer {os.environ['SCIM_SERVER_TOKEN']}":
            request.user = get_user_model()(username="relay")
        asked = request.body.decode()
        answer = self.get_response(request)
        print(request.method, request.get_full_path(), asked, "->", answer.status_code, answer.content.decode(), flush=True)
        return answer


urlpatterns = [path("scim/v2/", include("django_scim.urls"))]
call_command("migrate", run_syncdb=True, verbosity=0)
application = get_wsgi_application()
