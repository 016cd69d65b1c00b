"""Requests and tasks of servers as the place where traces, tenants and users begin.

    app.add_middleware(otel_llm.AsgiMiddleware, tenant=tenant_of)                  FastAPI, Starlette, any ASGI
    app.wsgi_app = otel_llm.WsgiMiddleware(app.wsgi_app, tenant=tenant_of)         Flask, Django, any WSGI
    otel_llm.instrument_celery()                                                   Celery, where tasks are defined

No web framework is imported: ASGI and WSGI are all that is known of them. docs/servers.md is the guide.
"""
