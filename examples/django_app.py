"""Django in one file: `application` is what a project's wsgi.py has, with our middleware around it.

gunicorn --chdir examples django_app:application    # with OPENAI_API_KEY
python examples/django_app.py --fake                # serves itself, asks itself three questions, and ends
"""

import argparse

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path
from shared import answer, fake_provider, tenant_of, visit

import otel_llm

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"], SECRET_KEY="an example's", LOGGING_CONFIG=None)
django.setup()


def ask(request):
    return JsonResponse({"answer": answer(request.GET["question"])})


urlpatterns = [path("ask", ask)]
application = otel_llm.WsgiMiddleware(
    get_wsgi_application(),
    tenant=lambda environ: tenant_of(environ.get("HTTP_AUTHORIZATION", "")),
    health="/otel-llm",
)


def main():
    import threading
    from wsgiref.simple_server import make_server

    with make_server("127.0.0.1", 0, application) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        visit(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
        thread.join()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve, ask three questions, end.")
    parser.add_argument("--fake", action="store_true", help="call a stand-in for OpenAI on loopback")
    with fake_provider(parser.parse_args().fake):
        otel_llm.configure()
        main()
        print(otel_llm.flush())
