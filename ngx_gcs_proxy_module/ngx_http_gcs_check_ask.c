
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/*
 * Requests of "gcs_check" to Cloud Storage.  What is secret in one is in a
 * pool that goes as soon as it has been sent: a run is kept for a while.
 */


static ngx_int_t ngx_http_gcs_check_send_ask(ngx_http_gcs_check_run_t *run,
    ngx_pool_t *pool, ngx_http_gcs_check_ask_t *ask, ngx_msec_t timeout);
static ngx_int_t ngx_http_gcs_check_url(ngx_http_gcs_check_run_t *run,
    ngx_pool_t *pool, ngx_http_gcs_check_ask_t *ask, ngx_str_t *url);
static ngx_int_t ngx_http_gcs_check_headers(ngx_http_gcs_check_run_t *run,
    ngx_pool_t *pool, ngx_http_gcs_check_ask_t *ask, ngx_array_t *headers);
static ngx_int_t ngx_http_gcs_check_authorize(ngx_http_gcs_check_run_t *run,
    ngx_pool_t *pool, ngx_http_gcs_check_ask_t *ask, ngx_array_t *headers);
static ngx_int_t ngx_http_gcs_check_hmac(ngx_http_gcs_check_run_t *run,
    ngx_pool_t *pool, ngx_http_gcs_check_ask_t *ask, ngx_array_t *headers);
static ngx_int_t ngx_http_gcs_check_header(ngx_pool_t *pool,
    ngx_array_t *headers, char *name, ngx_str_t *value);
static void ngx_http_gcs_check_fetched(void *data, ngx_int_t rc,
    ngx_gcs_response_t *res, ngx_str_t *err);
static ngx_int_t ngx_http_gcs_check_unanswered(ngx_http_gcs_check_run_t *run,
    ngx_str_t *err);


/* res->headers of an answer are in this order */

static char  *ngx_http_gcs_check_wanted[] = {
    "Date",
    "Content-Range",
    "Access-Control-Allow-Origin",
    "Access-Control-Expose-Headers",
    "Content-Encoding",
    NULL
};


ngx_int_t
ngx_http_gcs_check_ask(ngx_http_gcs_check_run_t *run, ngx_uint_t step,
    ngx_http_gcs_check_ask_t *ask, ngx_http_gcs_check_answer_pt answer)
{
    ngx_int_t    rc;
    ngx_msec_t   timeout;
    ngx_pool_t  *pool;

    if (run->unreachable) {
        ngx_gcs_check_say(&run->report, step, NGX_GCS_CHECK_SKIPPED,
                          "nothing was asked: the endpoint does not answer");
        return NGX_OK;
    }

    timeout = ngx_http_gcs_check_left(run, NGX_HTTP_GCS_CHECK_STEP);

    if (timeout == 0) {
        ngx_gcs_check_say(&run->report, step, NGX_GCS_CHECK_SKIPPED,
                          "nothing was asked: the check has taken too long");
        return NGX_OK;
    }

    run->step = step;
    run->answer = answer;
    run->begun = ngx_current_msec;
    run->stranger = ask->stranger;

    pool = ngx_create_pool(2048, ngx_cycle->log);
    if (pool == NULL) {
        return NGX_ERROR;
    }

    rc = ngx_http_gcs_check_send_ask(run, pool, ask, timeout);

    ngx_destroy_pool(pool);

    if (rc == NGX_DECLINED) {
        ngx_gcs_check_say(&run->report, step, NGX_GCS_CHECK_FAILED,
                          "the request could not be sent, see the error log");
        return NGX_OK;
    }

    return (rc == NGX_OK) ? NGX_AGAIN : NGX_ERROR;
}


static ngx_int_t
ngx_http_gcs_check_send_ask(ngx_http_gcs_check_run_t *run, ngx_pool_t *pool,
    ngx_http_gcs_check_ask_t *ask, ngx_msec_t timeout)
{
    ngx_int_t           rc;
    ngx_str_t          *header;
    ngx_uint_t          i;
    ngx_gcs_request_t   req;

    ngx_memzero(&req, sizeof(ngx_gcs_request_t));

    req.headers = ngx_array_create(pool, 8, sizeof(ngx_str_t));
    if (req.headers == NULL) {
        return NGX_ERROR;
    }

    req.method.data = (u_char *) ask->method;
    req.method.len = ngx_strlen(ask->method);
    req.timeout = timeout;
    req.limit = ask->limit;
    req.wanted = ngx_http_gcs_check_wanted;

    /* the first one shakes hands anew: so it tells of TLS */

    req.fresh = !run->connected;

    rc = ngx_http_gcs_check_url(run, pool, ask, &req.url);

    if (rc == NGX_OK) {
        rc = ngx_http_gcs_check_headers(run, pool, ask, req.headers);
    }

    if (rc == NGX_OK) {
        run->fetch = ngx_gcs_fetch(&req, &run->check->fetch,
                                   ngx_http_gcs_check_fetched, run);
        if (run->fetch == NULL) {
            rc = NGX_DECLINED;
        }
    }

    header = req.headers->elts;

    for (i = 0; i < req.headers->nelts; i++) {
        ngx_explicit_memzero(header[i].data, header[i].len);
    }

    return rc;
}


static ngx_int_t
ngx_http_gcs_check_url(ngx_http_gcs_check_run_t *run, ngx_pool_t *pool,
    ngx_http_gcs_check_ask_t *ask, ngx_str_t *url)
{
    u_char     *p;
    ngx_str_t  *base;

    if (ask->url.len) {
        *url = ask->url;
        return NGX_OK;
    }

    base = &run->check->base;

    p = ngx_pnalloc(pool, base->len + ask->path.len + 1 + ask->query.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    url->data = p;

    p = ngx_sprintf(p, "%V%V", base, &ask->path);

    if (ask->query.len) {
        p = ngx_sprintf(p, "?%V", &ask->query);
    }

    url->len = p - url->data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_gcs_check_headers(ngx_http_gcs_check_run_t *run, ngx_pool_t *pool,
    ngx_http_gcs_check_ask_t *ask, ngx_array_t *headers)
{
    static ngx_str_t  gzip = ngx_string("gzip");
    static ngx_str_t  first = ngx_string("bytes=0-0");

    if (ngx_http_gcs_check_header(pool, headers, "Host", &run->check->host)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* what is stored compressed is sent in ranges only as it is */

    if (ask->range
        && (ngx_http_gcs_check_header(pool, headers, "Range", &first)
            != NGX_OK
            || ngx_http_gcs_check_header(pool, headers, "Accept-Encoding",
                                         &gzip)
               != NGX_OK))
    {
        return NGX_ERROR;
    }

    if (ask->origin
        && ngx_http_gcs_check_header(pool, headers, "Origin", ask->origin)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ask->stranger || ask->url.len) {
        return NGX_OK;
    }

    if (run->user_project.len
        && ngx_http_gcs_check_header(pool, headers, "x-goog-user-project",
                                     &run->user_project)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_gcs_check_authorize(run, pool, ask, headers);
}


/* NGX_DECLINED: the token has gone since it was looked for */

static ngx_int_t
ngx_http_gcs_check_authorize(ngx_http_gcs_check_run_t *run, ngx_pool_t *pool,
    ngx_http_gcs_check_ask_t *ask, ngx_array_t *headers)
{
    ngx_str_t  value;

    if (ngx_http_gcs_hmac(run->identity)) {
        return ngx_http_gcs_check_hmac(run, pool, ask, headers);
    }

    if (run->identity->token == NULL) {
        return NGX_OK;
    }

    if (ngx_gcs_token_get(run->identity->token, &value, &run->generation)
        != NGX_OK)
    {
        return NGX_DECLINED;
    }

    ngx_gcs_token_bearer(run->identity->token, &value);

    return ngx_http_gcs_check_header(pool, headers, "Authorization", &value);
}


static ngx_int_t
ngx_http_gcs_check_hmac(ngx_http_gcs_check_run_t *run, ngx_pool_t *pool,
    ngx_http_gcs_check_ask_t *ask, ngx_array_t *headers)
{
    u_char                   date[NGX_GCS_SIGN_DATE_LEN];
    ngx_int_t                rc;
    ngx_str_t                value;
    ngx_keyval_t            *h;
    ngx_gcs_credentials_t   *cred;
    ngx_gcs_sign_request_t   req;

    static ngx_str_t  payload = ngx_string(NGX_GCS_SIGN_UNSIGNED);

    ngx_memzero(&req, sizeof(ngx_gcs_sign_request_t));

    req.method.data = (u_char *) ask->method;
    req.method.len = ngx_strlen(ask->method);
    req.path = ask->path;
    req.query = ask->query;
    req.payload = payload;
    req.now = ngx_time();

    req.headers = ngx_array_create(pool, 4, sizeof(ngx_keyval_t));
    if (req.headers == NULL) {
        return NGX_ERROR;
    }

    h = ngx_array_push_n(req.headers, run->user_project.len ? 4 : 3);
    if (h == NULL) {
        return NGX_ERROR;
    }

    value.data = date;
    value.len = ngx_gcs_sign_date(req.now, date) - date;

    ngx_str_set(&h[0].key, "host");
    h[0].value = run->check->host;
    ngx_str_set(&h[1].key, "x-goog-content-sha256");
    h[1].value = payload;
    ngx_str_set(&h[2].key, "x-goog-date");
    h[2].value = value;

    if (run->user_project.len) {
        ngx_str_set(&h[3].key, "x-goog-user-project");
        h[3].value = run->user_project;
    }

    if (ngx_http_gcs_check_header(pool, headers, "x-goog-date", &value)
        != NGX_OK
        || ngx_http_gcs_check_header(pool, headers, "x-goog-content-sha256",
                                     &payload)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    cred = run->identity->source.cred;

    ngx_http_gcs_hmac_renew(run->identity);

    rc = ngx_gcs_sign_hmac(pool, &cred->access_id, &cred->secret,
                           &run->identity->key, &req, &value);
    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_http_gcs_check_header(pool, headers, "Authorization", &value);
}


static ngx_int_t
ngx_http_gcs_check_header(ngx_pool_t *pool, ngx_array_t *headers, char *name,
    ngx_str_t *value)
{
    u_char     *p;
    ngx_str_t  *h;

    h = ngx_array_push(headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->len = 0;

    p = ngx_pnalloc(pool, ngx_strlen(name) + sizeof(": ") - 1 + value->len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    h->data = p;
    h->len = ngx_sprintf(p, "%s: %V", name, value) - p;

    return NGX_OK;
}


static void
ngx_http_gcs_check_fetched(void *data, ngx_int_t rc, ngx_gcs_response_t *res,
    ngx_str_t *err)
{
    ngx_http_gcs_check_run_t *run = data;

    ngx_gcs_token_t  *token;

    run->fetch = NULL;

    ngx_http_gcs_check_time(run, run->step);

    if (!run->connected) {
        run->connected = 1;
        ngx_http_gcs_check_connected(run, rc, res, err);
    }

    if (rc != NGX_OK) {
        ngx_http_gcs_check_resume(run, ngx_http_gcs_check_unanswered(run,
                                                                     err));
        return;
    }

    token = run->identity->token;

    if (res->status == NGX_HTTP_UNAUTHORIZED
        && token && !run->stranger && !run->rejected
        && ngx_gcs_token_reject(token, run->generation) == NGX_OK)
    {
        /* as the proxy does: once more, with another token */

        run->rejected = 1;

        ngx_http_gcs_check_again(run);
        return;
    }

    ngx_http_gcs_check_resume(run, run->answer(run, res));
}


static ngx_int_t
ngx_http_gcs_check_unanswered(ngx_http_gcs_check_run_t *run, ngx_str_t *err)
{
    ngx_gcs_check_refusal_t  refusal;

    ngx_memzero(&refusal, sizeof(ngx_gcs_check_refusal_t));

    if (run->report.steps[NGX_GCS_CHECK_TLS].status == NGX_GCS_CHECK_FAILED) {

        /* which says it all */

        ngx_gcs_check_say(&run->report, run->step, NGX_GCS_CHECK_SKIPPED,
                          "nothing was asked: TLS could not be established");
        return NGX_OK;
    }

    refusal.status = NGX_GCS_CHECK_UNANSWERED;
    refusal.text = ngx_gcs_check_clean(run->pool, err,
                                       NGX_GCS_CHECK_ERROR_MAX);

    if (refusal.text.data == NULL) {
        return NGX_ERROR;
    }

    ngx_gcs_check_say(&run->report, run->step, NGX_GCS_CHECK_FAILED,
                      "there was no answer");
    ngx_gcs_check_explain(&run->report, run->step, &refusal);

    return NGX_OK;
}


ngx_int_t
ngx_http_gcs_check_ask_object(ngx_http_gcs_check_run_t *run, ngx_pool_t *pool,
    ngx_http_gcs_check_ask_t *ask)
{
    u_char     *p;
    ngx_str_t  *bucket, *name;

    bucket = &run->check->target.bucket;
    name = &run->object;

    p = ngx_pnalloc(pool, 2 + bucket->len
                          + ngx_gcs_escape_path_len(name->data, name->len));
    if (p == NULL) {
        return NGX_ERROR;
    }

    ask->path.data = p;

    p = ngx_sprintf(p, "/%V/", bucket);
    p = ngx_gcs_escape_path(p, name->data, name->len);

    ask->path.len = p - ask->path.data;

    ask->method = "GET";
    ask->range = (run->size != 0);
    ask->limit = 32768;

    return NGX_OK;
}


ngx_int_t
ngx_http_gcs_check_refused(ngx_http_gcs_check_run_t *run, ngx_uint_t step,
    ngx_gcs_response_t *res, char *message)
{
    ngx_str_t                body;
    ngx_gcs_check_refusal_t  refusal;

    body = res->body;

    if (res->headers[4].len) {

        /* compressed, as a request for a range lets it be: not a text */

        body.len = 0;
    }

    if (ngx_gcs_check_refusal(run->pool, res->status, &body, &refusal)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* of a login and of an HMAC key only Google knows whose it is */

    if (run->report.member.len == 0) {
        run->report.member = ngx_gcs_check_who(run->pool, &refusal.text);
    }

    ngx_gcs_check_say(&run->report, step, NGX_GCS_CHECK_FAILED, message);
    ngx_gcs_check_explain(&run->report, step, &refusal);

    return NGX_OK;
}
