
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/*
 * Verdicts of an application, remembered for some seconds: whether one client
 * may have one object.  They lie in shared memory, sealed, under digests; the
 * keys of both are made of a secret of the processes and of what the client
 * has identified itself with, so that neither a cookie nor a signed URL can be
 * read there.
 *
 * While a question is under way in a worker, the same question of another
 * request waits for its answer.
 */


#define NGX_HTTP_GCS_VERDICT_LOCATION  'L'
#define NGX_HTTP_GCS_VERDICT_ACCEL     'A'
#define NGX_HTTP_GCS_VERDICT_ORACLE    'O'
#define NGX_HTTP_GCS_VERDICT_DENIED    'D'


/* seconds of a signature's life that are left for the request to GCS */
#define NGX_HTTP_GCS_VERDICT_MARGIN    10


/* a question under way */

struct ngx_http_gcs_flight_s {
    ngx_queue_t                  queue;      /* of all in this worker */
    ngx_queue_t                  waiters;    /* ngx_http_gcs_takeover_t */
    u_char                       key[NGX_GCS_SHA256_LEN];
};


static ngx_int_t ngx_http_gcs_verdict_keys(ngx_http_request_t *r,
    ngx_http_gcs_takeover_t *t);
static u_char *ngx_http_gcs_verdict_add(u_char *p, ngx_str_t *text);
static ngx_int_t ngx_http_gcs_verdict_who(ngx_http_request_t *r,
    ngx_http_gcs_takeover_t *t, ngx_str_t *who);
static ngx_uint_t ngx_http_gcs_verdict_names(ngx_str_t *name);
static ngx_int_t ngx_http_gcs_verdict_read(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_str_t *text);
static ngx_int_t ngx_http_gcs_verdict_denied(ngx_http_request_t *r,
    ngx_http_gcs_takeover_t *t, ngx_str_t *status, ngx_str_t *challenge);
static ngx_int_t ngx_http_gcs_verdict_join(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static void ngx_http_gcs_verdict_wake(ngx_event_t *ev);


static ngx_queue_t  ngx_http_gcs_flights;


ngx_int_t
ngx_http_gcs_verdict_look(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    time_t                         until;
    ngx_int_t                      rc;
    ngx_str_t                      sealed, text;
    ngx_http_gcs_takeover_t       *t;
    ngx_http_gcs_verdict_conf_t   *conf;

    t = ctx->takeover;
    conf = t->verdicts;

    if (!t->keyed) {
        rc = ngx_http_gcs_verdict_keys(r, t);

        if (rc == NGX_DECLINED) {
            t->verdicts = NULL;
            return NGX_DECLINED;
        }

        if (rc != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        t->keyed = 1;
    }

    rc = ngx_gcs_url_cache_get(conf->cache, t->key, r->pool, &sealed, &until);

    if (rc == NGX_OK) {
        rc = ngx_gcs_unseal(r->pool, t->seal, &sealed, &text);
    }

    if (rc == NGX_OK) {
        rc = ngx_http_gcs_verdict_read(r, ctx, &text);
    }

    if (rc == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (rc != NGX_DECLINED || t->alone) {
        return rc;
    }

    return ngx_http_gcs_verdict_join(r, ctx);
}


/* NGX_DECLINED: nothing says who asks, and nothing is remembered */

static ngx_int_t
ngx_http_gcs_verdict_keys(ngx_http_request_t *r, ngx_http_gcs_takeover_t *t)
{
    u_char     *p;
    ngx_int_t   rc;
    ngx_str_t   who, text, secret;

    rc = ngx_http_gcs_verdict_who(r, t, &who);
    if (rc != NGX_OK) {
        return rc;
    }

    text.len = 1 + sizeof(void *) + 6 * sizeof(size_t)
               + r->unparsed_uri.len + r->uri.len + r->args.len
               + t->url.len + r->headers_in.server.len + who.len;

    p = ngx_pnalloc(r->pool, text.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    text.data = p++;

    p = ngx_cpymem(p, &t->conf, sizeof(void *));

    /* which of the two is sent depends on rewrites and on "proxy_pass" */

    p = ngx_http_gcs_verdict_add(p, &r->unparsed_uri);
    p = ngx_http_gcs_verdict_add(p, &r->uri);
    p = ngx_http_gcs_verdict_add(p, &r->args);

    p = ngx_http_gcs_verdict_add(p, &t->url);
    p = ngx_http_gcs_verdict_add(p, &r->headers_in.server);
    (void) ngx_http_gcs_verdict_add(p, &who);

    secret.data = t->verdicts->secret;
    secret.len = NGX_GCS_SEAL_KEY;

    text.data[0] = 'k';

    if (ngx_gcs_crypto_hmac(&secret, &text, t->key) != NGX_OK) {
        return NGX_ERROR;
    }

    text.data[0] = 's';

    rc = ngx_gcs_crypto_hmac(&secret, &text, t->seal);

    ngx_explicit_memzero(text.data, text.len);

    return rc;
}


static u_char *
ngx_http_gcs_verdict_add(u_char *p, ngx_str_t *text)
{
    p = ngx_cpymem(p, &text->len, sizeof(size_t));

    return ngx_cpymem(p, text->data, text->len);
}


static ngx_int_t
ngx_http_gcs_verdict_who(ngx_http_request_t *r, ngx_http_gcs_takeover_t *t,
    ngx_str_t *who)
{
    u_char                      *p;
    ngx_table_elt_t             *h;
    ngx_http_gcs_header_walk_t   at;

    if (t->verdicts->key) {

        if (ngx_http_complex_value(r, t->verdicts->key, who) != NGX_OK) {
            return NGX_ERROR;
        }

        return who->len ? NGX_OK : NGX_DECLINED;
    }

    who->len = 0;
    who->data = NULL;

again:

    /* once to count, once to copy */

    p = who->data;

    for (h = ngx_http_gcs_header_first(&at, &r->headers_in.headers);
         h;
         h = ngx_http_gcs_header_next(&at))
    {
        if (!ngx_http_gcs_verdict_names(&h->key)) {
            continue;
        }

        if (p == NULL) {
            who->len += 1 + sizeof(size_t) + h->value.len;
            continue;
        }

        *p++ = ngx_tolower(h->key.data[0]);
        p = ngx_cpymem(p, &h->value.len, sizeof(size_t));
        p = ngx_cpymem(p, h->value.data, h->value.len);
    }

    if (p) {
        return NGX_OK;
    }

    if (who->len == 0) {

        /* the application may know who it is by something else */

        return NGX_DECLINED;
    }

    who->data = ngx_pnalloc(r->pool, who->len);
    if (who->data == NULL) {
        return NGX_ERROR;
    }

    goto again;
}


/* what Label Studio, and most others, know their users by */

static ngx_uint_t
ngx_http_gcs_verdict_names(ngx_str_t *name)
{
    ngx_uint_t  i;

    static ngx_str_t  names[] = {
        ngx_string("cookie"),
        ngx_string("authorization"),
        ngx_string("x-api-key")
    };

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (name->len == names[i].len
            && ngx_strncasecmp(name->data, names[i].data, name->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


/*
 * A verdict is its kind, the length of an extra in two bytes, the extra, and
 * what the application has said: a URL or a status.  The extra is what to call
 * a download, or the challenge of a 401.
 */

static ngx_int_t
ngx_http_gcs_verdict_read(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_str_t *text)
{
    char                     *reason;
    size_t                    len;
    ngx_int_t                 rc;
    ngx_str_t                 extra, value;
    ngx_http_gcs_takeover_t  *t;

    t = ctx->takeover;

    len = (text->len < 3) ? 0 : (size_t) (text->data[1] << 8) + text->data[2];

    if (text->len < 3 + len) {
        return NGX_DECLINED;
    }

    extra.data = text->data + 3;
    extra.len = len;

    value.data = extra.data + len;
    value.len = text->len - 3 - len;

    switch (text->data[0]) {

    case NGX_HTTP_GCS_VERDICT_DENIED:
        return ngx_http_gcs_verdict_denied(r, t, &value, &extra);

    case NGX_HTTP_GCS_VERDICT_ORACLE:
        break;

    default:
        rc = ngx_http_gcs_takeover_object(r, t, &value,
                 text->data[0] == NGX_HTTP_GCS_VERDICT_ACCEL, &reason);

        if (rc != NGX_OK) {

            /* its signature has expired meanwhile */

            return rc;
        }

        break;
    }

    if (extra.len) {
        t->disposition = extra;
    }

    t->taken = 1;
    ngx_str_set(&t->status, "cached");

    return NGX_OK;
}


static ngx_int_t
ngx_http_gcs_verdict_denied(ngx_http_request_t *r, ngx_http_gcs_takeover_t *t,
    ngx_str_t *status, ngx_str_t *challenge)
{
    ngx_int_t         rc;
    ngx_table_elt_t  *h;

    rc = ngx_atoi(status->data, status->len);

    if (rc == NGX_HTTP_UNAUTHORIZED && challenge->len) {

        h = ngx_http_gcs_add_header(r, "WWW-Authenticate", challenge);
        if (h == NULL) {
            return NGX_ERROR;
        }

        r->headers_out.www_authenticate = h;
    }

    ngx_str_set(&t->status, "denied");

    return rc;
}


ngx_int_t
ngx_http_gcs_verdict_set(ngx_http_request_t *r, ngx_http_gcs_takeover_t *t,
    ngx_str_t *extra, ngx_str_t *value)
{
    u_char      kind, *p;
    time_t      until;
    ngx_str_t   text, sealed;

    if (t->verdicts == NULL || extra->len > 0xffff) {
        return NGX_DECLINED;
    }

    until = ngx_time() + t->verdicts->valid;

    if (!t->taken) {
        kind = NGX_HTTP_GCS_VERDICT_DENIED;

    } else if (value->len == 0) {
        kind = NGX_HTTP_GCS_VERDICT_ORACLE;

    } else {
        kind = t->accel ? NGX_HTTP_GCS_VERDICT_ACCEL
                        : NGX_HTTP_GCS_VERDICT_LOCATION;

        if (t->redirect.expires) {
            until = ngx_min(until, t->redirect.expires
                                   - NGX_HTTP_GCS_VERDICT_MARGIN);
        }

        if (until <= ngx_time()) {
            return NGX_DECLINED;
        }
    }

    text.len = 3 + extra->len + value->len;

    p = ngx_pnalloc(r->pool, text.len);
    if (p == NULL) {
        return NGX_DECLINED;
    }

    text.data = p;

    *p++ = kind;
    *p++ = (u_char) (extra->len >> 8);
    *p++ = (u_char) extra->len;
    p = ngx_cpymem(p, extra->data, extra->len);
    ngx_memcpy(p, value->data, value->len);

    if (ngx_gcs_seal(r->pool, t->seal, &text, &sealed) != NGX_OK) {
        return NGX_DECLINED;
    }

    return ngx_gcs_url_cache_set(t->verdicts->cache, t->key, &sealed, until);
}


/*
 * NGX_DECLINED: nobody asks this at the moment, and now the request does;
 * NGX_AGAIN: it waits.
 */

static ngx_int_t
ngx_http_gcs_verdict_join(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_int_t                 rc;
    ngx_queue_t              *q;
    ngx_http_gcs_flight_t    *flight;
    ngx_http_gcs_takeover_t  *t;

    t = ctx->takeover;

    if (ngx_http_gcs_flights.next == NULL) {
        ngx_queue_init(&ngx_http_gcs_flights);
    }

    for (q = ngx_queue_head(&ngx_http_gcs_flights);
         q != ngx_queue_sentinel(&ngx_http_gcs_flights);
         q = ngx_queue_next(q))
    {
        flight = ngx_queue_data(q, ngx_http_gcs_flight_t, queue);

        if (ngx_memcmp(flight->key, t->key, NGX_GCS_SHA256_LEN) != 0) {
            continue;
        }

        rc = ngx_http_gcs_suspend(r, ctx, ngx_http_gcs_takeover_resume);
        if (rc != NGX_OK) {
            return rc;
        }

        r->connection->log->action = "waiting for the application's verdict";

        t->event.handler = ngx_http_gcs_verdict_wake;
        t->event.data = ctx;
        t->event.log = r->connection->log;

        ngx_queue_insert_tail(&flight->waiters, &t->queue);
        t->waiting = 1;

        return NGX_AGAIN;
    }

    flight = ngx_palloc(r->pool, sizeof(ngx_http_gcs_flight_t));
    if (flight == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memcpy(flight->key, t->key, NGX_GCS_SHA256_LEN);
    ngx_queue_init(&flight->waiters);
    ngx_queue_insert_tail(&ngx_http_gcs_flights, &flight->queue);

    t->flight = flight;

    return NGX_DECLINED;
}


void
ngx_http_gcs_verdict_end(ngx_http_gcs_takeover_t *t, ngx_uint_t alone)
{
    ngx_queue_t              *q;
    ngx_http_gcs_takeover_t  *waiter;

    if (t->flight == NULL) {
        return;
    }

    ngx_queue_remove(&t->flight->queue);

    while (!ngx_queue_empty(&t->flight->waiters)) {

        q = ngx_queue_head(&t->flight->waiters);
        ngx_queue_remove(q);

        waiter = ngx_queue_data(q, ngx_http_gcs_takeover_t, queue);

        waiter->waiting = 0;
        waiter->alone = alone;

        ngx_post_event(&waiter->event, &ngx_posted_events);
    }

    t->flight = NULL;
}


void
ngx_http_gcs_verdict_cancel(ngx_http_gcs_takeover_t *t)
{
    if (t->waiting) {
        ngx_queue_remove(&t->queue);
        t->waiting = 0;
    }

    if (t->event.posted) {
        ngx_delete_posted_event(&t->event);
    }

    /* its client has gone: another one asks in its place */

    ngx_http_gcs_verdict_end(t, 0);
}


static void
ngx_http_gcs_verdict_wake(ngx_event_t *ev)
{
    ngx_http_gcs_wake(ev->data, NGX_OK);
}
