
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/*
 * What of an application's answer is evidence that the client may have the
 * object, and which object it is.  All else goes to the client as it is: then
 * the application has decided, and the client can follow a redirect itself.
 */


static ngx_int_t ngx_http_gcs_takeover_redirect(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_str_t **value, char **reason);
static ngx_str_t *ngx_http_gcs_takeover_single(ngx_http_request_t *r,
    char *name);
static void ngx_http_gcs_takeover_refused(ngx_http_request_t *r,
    ngx_http_gcs_takeover_t *t);
static char *ngx_http_gcs_takeover_unfit(ngx_http_gcs_takeover_t *t);
static ngx_int_t ngx_http_gcs_takeover_evidence(ngx_http_request_t *r);
static ngx_int_t ngx_http_gcs_takeover_number(u_char **text, u_char *last,
    off_t *number);
static ngx_int_t ngx_http_gcs_takeover_take(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_str_t *value);
static ngx_int_t ngx_http_gcs_takeover_keep_headers(ngx_http_request_t *r,
    ngx_http_gcs_takeover_t *t);


ngx_int_t
ngx_http_gcs_takeover_judge(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    char                     *reason;
    ngx_int_t                 rc;
    ngx_str_t                *value;
    ngx_uint_t                status;
    ngx_http_upstream_t      *u;
    ngx_http_gcs_takeover_t  *t;

    u = r->upstream;
    t = ctx->takeover;
    status = u->headers_in.status_n;
    value = NULL;
    reason = NULL;

    rc = ngx_http_gcs_takeover_redirect(r, ctx, &value, &reason);

    if (rc == NGX_DECLINED && reason == NULL && t->oracle
        && (status == NGX_HTTP_PARTIAL_CONTENT || status == NGX_HTTP_OK))
    {
        rc = ngx_http_gcs_takeover_evidence(r);

        if (rc == NGX_DECLINED && status == NGX_HTTP_PARTIAL_CONTENT) {

            /* the client has not asked for a part, or for another one */

            ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                          "the application responded 206 with something "
                          "else than the first byte to \"bytes=0-0\"");

            return NGX_HTTP_UPSTREAM_INVALID_HEADER;
        }

        ngx_str_set(&t->status, "oracle");
    }

    if (rc == NGX_OK) {
        return ngx_http_gcs_takeover_take(r, ctx, value);
    }

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    ngx_str_set(&t->status, "passed");

    if (reason) {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "gcs takeover: redirect of the application not taken: "
                      "%s", reason);
    }

    ngx_http_gcs_takeover_refused(r, t);

    return NGX_OK;
}


/* a refusal is a verdict too; a failure is none, nor is anything else */

static void
ngx_http_gcs_takeover_refused(ngx_http_request_t *r,
    ngx_http_gcs_takeover_t *t)
{
    u_char                buf[NGX_INT_T_LEN];
    ngx_int_t             rc;
    ngx_str_t             status, *challenge;
    ngx_uint_t            code;
    ngx_http_upstream_t  *u;

    static ngx_str_t  none = ngx_null_string;

    u = r->upstream;
    code = u->headers_in.status_n;

    if (u->peer.tries > 1
        && ((code == NGX_HTTP_FORBIDDEN
             && (u->conf->next_upstream & NGX_HTTP_UPSTREAM_FT_HTTP_403))
            || (code == NGX_HTTP_NOT_FOUND
                && (u->conf->next_upstream & NGX_HTTP_UPSTREAM_FT_HTTP_404))))
    {
        /* another server will be asked */

        return;
    }

    if (t->verdicts == NULL
        || (code != NGX_HTTP_UNAUTHORIZED
            && code != NGX_HTTP_FORBIDDEN
            && code != NGX_HTTP_NOT_FOUND))
    {
        ngx_http_gcs_verdict_end(t, 1);
        return;
    }

    status.data = buf;
    status.len = ngx_sprintf(buf, "%ui", code) - buf;

    challenge = ngx_http_gcs_takeover_single(r, "WWW-Authenticate");

    rc = ngx_http_gcs_verdict_set(r, t, challenge ? challenge : &none,
                                  &status);

    ngx_http_gcs_verdict_end(t, rc != NGX_OK);
}


/*
 * NGX_OK: it leads to an object that may be served; NGX_DECLINED: there is no
 * redirect, or it is none of ours, for that reason; NGX_ERROR.
 */

static ngx_int_t
ngx_http_gcs_takeover_redirect(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_str_t **value, char **reason)
{
    ngx_http_upstream_t      *u;
    ngx_http_gcs_takeover_t  *t;

    u = r->upstream;
    t = ctx->takeover;

    if (u->headers_in.x_accel_redirect
        && !(u->conf->ignore_headers & NGX_HTTP_UPSTREAM_IGN_XA_REDIRECT))
    {
        if (u->headers_in.status_n < NGX_HTTP_OK
            || u->headers_in.status_n >= NGX_HTTP_SPECIAL_RESPONSE)
        {
            *reason = "an \"X-Accel-Redirect\" beside a status that is none "
                      "of success";
            return NGX_DECLINED;
        }

        *value = ngx_http_gcs_takeover_single(r, "X-Accel-Redirect");

        if (*value == NULL) {
            *reason = "there is more than one \"X-Accel-Redirect\"";
            return NGX_DECLINED;
        }

        t->accel = 1;
        ngx_str_set(&t->status, "accel");

    } else {

        switch (u->headers_in.status_n) {

        case NGX_HTTP_MOVED_PERMANENTLY:
        case NGX_HTTP_MOVED_TEMPORARILY:
        case NGX_HTTP_SEE_OTHER:
        case NGX_HTTP_TEMPORARY_REDIRECT:
        case NGX_HTTP_PERMANENT_REDIRECT:
            break;

        default:
            return NGX_DECLINED;
        }

        *value = ngx_http_gcs_takeover_single(r, "Location");

        if (*value == NULL) {
            *reason = "there is no \"Location\", or more than one";
            return NGX_DECLINED;
        }

        ngx_str_set(&t->status, "redirect");
    }

    return ngx_http_gcs_takeover_object(r, t, *value, t->accel, reason);
}


ngx_int_t
ngx_http_gcs_takeover_object(ngx_http_request_t *r,
    ngx_http_gcs_takeover_t *t, ngx_str_t *value, ngx_uint_t accel,
    char **reason)
{
    u_char              *p;
    ngx_int_t            rc;
    ngx_gcs_redirect_t   redirect;

    rc = accel ? ngx_gcs_redirect_accel(r->pool, &t->conf->hosts, value,
                                        &redirect, reason)
               : ngx_gcs_redirect_location(r->pool, &t->conf->hosts, value,
                                           &redirect, reason);
    if (rc != NGX_OK) {
        return rc;
    }

    if (t->oracle
        && (redirect.object.bucket.len != t->object.bucket.len
            || redirect.object.name.len != t->object.name.len
            || ngx_memcmp(redirect.object.bucket.data, t->object.bucket.data,
                          t->object.bucket.len)
               != 0
            || ngx_memcmp(redirect.object.name.data, t->object.name.data,
                          t->object.name.len)
               != 0))
    {
        *reason = "it names another object than the one that was asked for";
        return NGX_DECLINED;
    }

    t->redirect = redirect;
    t->object = redirect.object;

    *reason = ngx_http_gcs_takeover_unfit(t);

    if (*reason) {
        return NGX_DECLINED;
    }

    t->type = redirect.type;
    t->disposition = redirect.disposition;

    t->url.len = sizeof("gs://") - 1 + t->object.bucket.len + 1
                 + t->object.name.len;

    p = ngx_pnalloc(r->pool, t->url.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_sprintf(p, "gs://%V/%V", &t->object.bucket, &t->object.name);

    t->url.data = p;

    return NGX_OK;
}


/* the value of the header, if it is there once */

static ngx_str_t *
ngx_http_gcs_takeover_single(ngx_http_request_t *r, char *name)
{
    size_t                       len;
    ngx_str_t                   *value;
    ngx_table_elt_t             *h;
    ngx_http_gcs_header_walk_t   at;

    len = ngx_strlen(name);
    value = NULL;

    for (h = ngx_http_gcs_header_first(&at, &r->upstream->headers_in.headers);
         h;
         h = ngx_http_gcs_header_next(&at))
    {
        if (!ngx_http_gcs_header_named(h, name, len)) {
            continue;
        }

        if (value) {
            return NULL;
        }

        value = &h->value;
    }

    return value;
}


/* why the object cannot be served in the named location, or NULL */

static char *
ngx_http_gcs_takeover_unfit(ngx_http_gcs_takeover_t *t)
{
    ngx_gcs_redirect_t       *redirect;
    ngx_http_gcs_loc_conf_t  *target;

    redirect = &t->redirect;
    target = t->conf->target;

    if (!ngx_http_gcs_bucket_allowed(target, &redirect->object)) {
        return "not allowed by \"gcs_buckets\"";
    }

    if (redirect->signature == NGX_GCS_REDIRECT_UNSIGNED) {

        if (!t->conf->any) {
            return "it is not signed, see \"gcs_takeover_unsigned\"";
        }

    } else if (redirect->expires <= ngx_time()) {
        return "its signature has expired";
    }

    if (target->identity && target->identity->signature) {
        return NULL;
    }

    /* read by its name, the object comes without what these would do */

    if (redirect->other || redirect->generation.data
        || redirect->user_project.data)
    {
        return "it has parameters that \"gcs_auth\" with an identity "
               "cannot obey";
    }

    return NULL;
}


/*
 * "bytes 0-0/N", or "bytes 0-1/N" of Label Studio, which asks for two bytes
 * where one is wanted.  If the object has but one byte, Label Studio tells its
 * range in a 200.  Any other 200 may be a login page.
 * (https://github.com/HumanSignal/label-studio, io_storages/proxy_api.py)
 */

static ngx_int_t
ngx_http_gcs_takeover_evidence(ngx_http_request_t *r)
{
    off_t       end, size;
    u_char     *p, *last;
    ngx_str_t  *range;

    range = ngx_http_gcs_takeover_single(r, "Content-Range");

    if (range == NULL || range->len < sizeof("bytes 0-0/1") - 1
        || ngx_strncasecmp(range->data, (u_char *) "bytes 0-", 8) != 0)
    {
        return NGX_DECLINED;
    }

    p = range->data + 8;
    last = range->data + range->len;

    if (ngx_http_gcs_takeover_number(&p, last, &end) != NGX_OK
        || p == last || *p++ != '/'
        || ngx_http_gcs_takeover_number(&p, last, &size) != NGX_OK
        || p != last)
    {
        return NGX_DECLINED;
    }

    if (r->upstream->headers_in.status_n == NGX_HTTP_OK
        && (size != 1 || r->upstream->headers_in.content_length_n != 1))
    {
        return NGX_DECLINED;
    }

    return (end <= 1 && end < size) ? NGX_OK : NGX_DECLINED;
}


static ngx_int_t
ngx_http_gcs_takeover_number(u_char **text, u_char *last, off_t *number)
{
    u_char  *p;

    for (p = *text; p < last && *p >= '0' && *p <= '9'; p++) { /* void */ }

    *number = ngx_atoof(*text, p - *text);
    *text = p;

    return (*number == NGX_ERROR) ? NGX_ERROR : NGX_OK;
}


static ngx_int_t
ngx_http_gcs_takeover_take(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_str_t *value)
{
    ngx_int_t                  rc;
    ngx_http_upstream_t       *u;
    ngx_http_gcs_takeover_t   *t;
    ngx_http_upstream_conf_t  *ucf;

    static ngx_str_t  none = ngx_null_string;

    u = r->upstream;
    t = ctx->takeover;

    if (ngx_http_gcs_takeover_keep_headers(r, t) != NGX_OK) {
        return NGX_ERROR;
    }

    t->taken = 1;

    rc = ngx_http_gcs_verdict_set(r, t, &t->disposition,
                                  value ? value : &none);

    ngx_http_gcs_verdict_end(t, rc != NGX_OK);

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "http gcs takeover: \"%V\" by %V, in location \"%V\"",
                   &t->url, &t->status, &t->conf->accel.value);

    if (!t->conf->http2 && !u->headers_in.chunked
        && u->headers_in.content_length_n
           == u->buffer.last - u->buffer.pos)
    {
        /* all of it has been read, which nginx would find out later only */

        u->keepalive = !u->headers_in.connection_close;
    }

    if (u->conf->ignore_headers & NGX_HTTP_UPSTREAM_IGN_XA_REDIRECT) {

        ucf = ngx_palloc(r->pool, sizeof(ngx_http_upstream_conf_t));
        if (ucf == NULL) {
            return NGX_ERROR;
        }

        *ucf = *u->conf;
        ucf->ignore_headers &= ~NGX_HTTP_UPSTREAM_IGN_XA_REDIRECT;

        u->conf = ucf;
    }

    /* no "error_page" or next upstream for a redirect; no charset either */

    u->headers_in.status_n = NGX_HTTP_OK;
    u->headers_in.x_accel_redirect = &t->conf->accel;
    r->headers_out.override_charset = NULL;

    return NGX_OK;
}


/*
 * nginx copies some headers of the application when it redirects.  Only its
 * cookies are for the client, and what name a download is to have; the rest
 * would mix with what Cloud Storage says of the object.
 */

static ngx_int_t
ngx_http_gcs_takeover_keep_headers(ngx_http_request_t *r,
    ngx_http_gcs_takeover_t *t)
{
    ngx_list_t                   headers;
    ngx_table_elt_t             *h, *cookie;
    ngx_http_upstream_t         *u;
    ngx_http_gcs_header_walk_t   at;

    u = r->upstream;

    headers = u->headers_in.headers;

    if (ngx_list_init(&u->headers_in.headers, r->pool, 2,
                      sizeof(ngx_table_elt_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    for (h = ngx_http_gcs_header_first(&at, &headers);
         h;
         h = ngx_http_gcs_header_next(&at))
    {
        if (ngx_hash_find(&u->conf->hide_headers_hash, h->hash,
                          h->lowcase_key, h->key.len))
        {
            continue;
        }

        if (ngx_http_gcs_header_named(h, "Content-Disposition",
                                      sizeof("Content-Disposition") - 1))
        {
            t->disposition = h->value;
            continue;
        }

        if (!ngx_http_gcs_header_named(h, "Set-Cookie",
                                       sizeof("Set-Cookie") - 1))
        {
            continue;
        }

        cookie = ngx_list_push(&u->headers_in.headers);
        if (cookie == NULL) {
            return NGX_ERROR;
        }

        *cookie = *h;
#if (nginx_version >= 1023000)
        cookie->next = NULL;
#endif
    }

    return NGX_OK;
}
