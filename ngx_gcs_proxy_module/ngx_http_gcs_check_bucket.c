
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/* the steps of "gcs_check" that look for the bucket, and what is in it */


/* how many pages without a name are followed, and how many names are asked */
#define NGX_HTTP_GCS_CHECK_PAGES  5
#define NGX_HTTP_GCS_CHECK_NAMES  "10"


static ngx_int_t ngx_http_gcs_check_connect_answer(
    ngx_http_gcs_check_run_t *run, ngx_gcs_response_t *res);
static ngx_int_t ngx_http_gcs_check_bucket_answer(
    ngx_http_gcs_check_run_t *run, ngx_gcs_response_t *res);
static ngx_int_t ngx_http_gcs_check_list_query(ngx_http_gcs_check_run_t *run,
    ngx_pool_t *pool, ngx_http_gcs_check_ask_t *ask);
static ngx_int_t ngx_http_gcs_check_list_answer(ngx_http_gcs_check_run_t *run,
    ngx_gcs_response_t *res);


/* where nobody may ask for the bucket, so that TLS and the clock are known */

ngx_int_t
ngx_http_gcs_check_connect(ngx_http_gcs_check_run_t *run)
{
    ngx_http_gcs_check_ask_t  ask;

    if (run->authorized) {
        return NGX_OK;
    }

    ngx_memzero(&ask, sizeof(ngx_http_gcs_check_ask_t));

    ask.method = "GET";
    ask.limit = 1;
    ask.stranger = 1;
    ngx_str_set(&ask.path, "/");

    return ngx_http_gcs_check_ask(run, NGX_GCS_CHECK_CLOCK, &ask,
                                  ngx_http_gcs_check_connect_answer);
}


/* whatever it is, its header has told enough */

static ngx_int_t
ngx_http_gcs_check_connect_answer(ngx_http_gcs_check_run_t *run,
    ngx_gcs_response_t *res)
{
    return NGX_OK;
}


void
ngx_http_gcs_check_connected(ngx_http_gcs_check_run_t *run, ngx_int_t rc,
    ngx_gcs_response_t *res, ngx_str_t *err)
{
    time_t                    skew;
    ngx_gcs_check_t          *report;
    ngx_http_gcs_address_t   *address;
    ngx_gcs_check_step_t     *tls;
    ngx_gcs_check_refusal_t   refusal;

    report = &run->report;
    tls = &report->steps[NGX_GCS_CHECK_TLS];
    address = ngx_http_gcs_address(run->check->conf);

    if (!address->tls) {
        tls->exempt = 1;
        ngx_gcs_check_say(report, NGX_GCS_CHECK_TLS, NGX_GCS_CHECK_SKIPPED,
                          "the endpoint is on this machine, without TLS");

    } else if (rc == NGX_OK) {
        tls->warning = run->check->fetch.insecure;
        tls->msec = report->steps[run->step].msec;

        ngx_gcs_check_say(report, NGX_GCS_CHECK_TLS, NGX_GCS_CHECK_OK,
                          tls->warning
                          ? "established, but \"gcs_ssl_verify\" is off: "
                            "anybody could be \"%V\""
                          : "the certificate of \"%V\" was verified",
                          &address->sni);

    } else if (ngx_strlcasestrn(err->data, err->data + err->len,
                                (u_char *) "SSL", 2)
               || ngx_strlcasestrn(err->data, err->data + err->len,
                                   (u_char *) "certificate", 10)
               || ngx_strlcasestrn(err->data, err->data + err->len,
                                   (u_char *) "trust anchors", 12))
    {
        /* libcurl has but words for it, and other ones in each version */

        ngx_memzero(&refusal, sizeof(ngx_gcs_check_refusal_t));

        refusal.status = NGX_GCS_CHECK_UNANSWERED;
        refusal.text = ngx_gcs_check_clean(run->pool, err,
                                           NGX_GCS_CHECK_ERROR_MAX);

        ngx_gcs_check_say(report, NGX_GCS_CHECK_TLS, NGX_GCS_CHECK_FAILED,
                          "no TLS with \"%V\"", &address->sni);
        ngx_gcs_check_explain(report, NGX_GCS_CHECK_TLS, &refusal);

    } else {
        ngx_gcs_check_say(report, NGX_GCS_CHECK_TLS, NGX_GCS_CHECK_SKIPPED,
                          "there was no connection");
    }

    if (rc != NGX_OK) {
        run->unreachable = 1;
        return;
    }

    if (ngx_gcs_check_skew(&res->headers[0], ngx_time(), &skew) != NGX_OK) {
        ngx_gcs_check_say(report, NGX_GCS_CHECK_CLOCK, NGX_GCS_CHECK_SKIPPED,
                          "the answer has no date");
        return;
    }

    if (ngx_abs(skew) <= NGX_GCS_CHECK_SKEW) {
        ngx_gcs_check_say(report, NGX_GCS_CHECK_CLOCK, NGX_GCS_CHECK_OK,
                          "within %T s of Google's", ngx_abs(skew));
        return;
    }

    report->steps[NGX_GCS_CHECK_CLOCK].warning =
        (ngx_abs(skew) <= NGX_GCS_CHECK_SKEW_MAX);

    ngx_gcs_check_say(report, NGX_GCS_CHECK_CLOCK,
                      ngx_abs(skew) <= NGX_GCS_CHECK_SKEW_MAX
                      ? NGX_GCS_CHECK_OK : NGX_GCS_CHECK_FAILED,
                      "%T s %s Google's", ngx_abs(skew),
                      skew > 0 ? "ahead of" : "behind");

    ngx_gcs_check_because(report, NGX_GCS_CHECK_CLOCK, "clock_skew");
}


ngx_int_t
ngx_http_gcs_check_bucket(ngx_http_gcs_check_run_t *run)
{
    ngx_int_t                  rc;
    ngx_str_t                 *bucket;
    u_char                     path[sizeof("/storage/v1/b/") + 256];
    ngx_http_gcs_check_ask_t   ask;

    if (!run->authorized) {
        return NGX_OK;
    }

    ngx_memzero(&ask, sizeof(ngx_http_gcs_check_ask_t));

    bucket = &run->check->target.bucket;

    ask.path.data = path;
    ask.limit = 32768;

    if (ngx_http_gcs_hmac(run->identity)) {
        ask.method = "HEAD";
        ask.path.len = ngx_snprintf(path, sizeof(path), "/%V", bucket) - path;

    } else {
        ask.method = "GET";
        ask.path.len = ngx_snprintf(path, sizeof(path), "/storage/v1/b/%V",
                                    bucket)
                       - path;
        ngx_str_set(&ask.query, "fields=name%2Clocation");
    }

    rc = ngx_http_gcs_check_ask(run, NGX_GCS_CHECK_BUCKET, &ask,
                                ngx_http_gcs_check_bucket_answer);
    return rc;
}


/* objectViewer may not do it, and nginx need not */

static ngx_int_t
ngx_http_gcs_check_bucket_answer(ngx_http_gcs_check_run_t *run,
    ngx_gcs_response_t *res)
{
    char                  *cause;
    ngx_gcs_check_t       *report;
    ngx_gcs_check_step_t  *step;

    report = &run->report;
    step = &report->steps[NGX_GCS_CHECK_BUCKET];

    if (res->status == NGX_HTTP_OK) {

        /* others answer 200 to anything: a portal, a wrong endpoint */

        if (!ngx_http_gcs_hmac(run->identity)
            && !ngx_gcs_check_named(&res->body, &run->check->target.bucket))
        {
            return ngx_http_gcs_check_refused(run, NGX_GCS_CHECK_BUCKET, res,
                                              "the answer is not the bucket");
        }

        ngx_gcs_check_say(report, NGX_GCS_CHECK_BUCKET, NGX_GCS_CHECK_OK,
                          "found, and its properties may be read");
        return NGX_OK;
    }

    if (ngx_http_gcs_check_refused(run, NGX_GCS_CHECK_BUCKET, res,
                                   "it could not be looked up")
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* is it only this permission that is missing? */

    cause = "may not read the properties";

    if (ngx_strstr(step->cause, cause) != NULL
        || (res->status == NGX_HTTP_UNAUTHORIZED
            && run->identity->source.cred == NULL))
    {
        ngx_gcs_check_say(report, NGX_GCS_CHECK_BUCKET, NGX_GCS_CHECK_SKIPPED,
                          "not allowed, and not needed: "
                          "roles/storage.objectViewer has no "
                          "\"storage.buckets.get\"");
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_gcs_check_list(ngx_http_gcs_check_run_t *run)
{
    ngx_int_t                  rc;
    ngx_pool_t                *pool;
    ngx_http_gcs_check_ask_t   ask;

    if (!run->authorized) {
        return NGX_OK;
    }

    pool = ngx_create_pool(2048, ngx_cycle->log);
    if (pool == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(&ask, sizeof(ngx_http_gcs_check_ask_t));

    ask.method = "GET";

    rc = ngx_http_gcs_check_list_query(run, pool, &ask);

    if (rc == NGX_OK) {
        rc = ngx_http_gcs_check_ask(run, NGX_GCS_CHECK_LIST, &ask,
                                    ngx_http_gcs_check_list_answer);
    }

    ngx_destroy_pool(pool);

    return rc;
}


/* the parameters in their order, as they are signed with an HMAC key */

static ngx_int_t
ngx_http_gcs_check_list_query(ngx_http_gcs_check_run_t *run, ngx_pool_t *pool,
    ngx_http_gcs_check_ask_t *ask)
{
    char       *token;
    u_char     *p;
    ngx_str_t  *bucket, *prefix;

    static char  xml[] =
        "encoding-type=url&list-type=2&max-keys=" NGX_HTTP_GCS_CHECK_NAMES;
    static char  json[] =
        "fields=items%28name%2Csize%29%2CnextPageToken"
        "&maxResults=" NGX_HTTP_GCS_CHECK_NAMES;

    bucket = &run->check->target.bucket;
    prefix = &run->check->target.name;

    p = ngx_pnalloc(pool, sizeof("/storage/v1/b//o") - 1 + bucket->len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ask->path.data = p;
    ask->path.len = ngx_sprintf(p, ngx_http_gcs_hmac(run->identity)
                                   ? "/%V" : "/storage/v1/b/%V/o", bucket)
                    - p;

    p = ngx_pnalloc(pool, sizeof(json) + sizeof(xml)
                          + sizeof("&prefix=&continuation-token=") - 1
                          + ngx_gcs_escape_query_len(prefix->data,
                                                     prefix->len)
                          + ngx_gcs_escape_query_len(run->page.data,
                                                     run->page.len));
    if (p == NULL) {
        return NGX_ERROR;
    }

    ask->query.data = p;

    if (ngx_http_gcs_hmac(run->identity)) {

        if (run->page.len) {
            p = ngx_sprintf(p, "continuation-token=");
            p = ngx_gcs_escape_query(p, run->page.data, run->page.len);
            *p++ = '&';
        }

        p = ngx_sprintf(p, "%s", xml);
        token = NULL;

    } else {
        p = ngx_sprintf(p, "%s", json);
        token = "&pageToken=";
    }

    if (token && run->page.len) {
        p = ngx_sprintf(p, "%s", token);
        p = ngx_gcs_escape_query(p, run->page.data, run->page.len);
    }

    if (prefix->len) {
        p = ngx_sprintf(p, "&prefix=");
        p = ngx_gcs_escape_query(p, prefix->data, prefix->len);
    }

    ask->query.len = p - ask->query.data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_gcs_check_list_answer(ngx_http_gcs_check_run_t *run,
    ngx_gcs_response_t *res)
{
    ngx_int_t              rc;
    ngx_str_t             *prefix;
    ngx_gcs_check_t       *report;
    ngx_gcs_check_list_t   list;

    report = &run->report;
    prefix = &run->check->target.name;

    if (res->status != NGX_HTTP_OK) {

        /* the prefix may be the name of an object, which can be read */

        if (prefix->len && prefix->data[prefix->len - 1] != '/') {
            run->object = *prefix;
        }

        return ngx_http_gcs_check_refused(run, NGX_GCS_CHECK_LIST, res,
                                          "it could not be listed");
    }

    rc = ngx_gcs_check_list(run->pool, &res->body,
                            ngx_http_gcs_hmac(run->identity), &list);

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (rc == NGX_DECLINED) {
        return ngx_http_gcs_check_refused(run, NGX_GCS_CHECK_LIST, res,
                                          "the answer is not a list");
    }

    run->object = list.name;
    run->size = list.size;

    if (list.count == 0 && list.next.len
        && ++run->pages < NGX_HTTP_GCS_CHECK_PAGES)
    {
        run->page = list.next;
        return ngx_http_gcs_check_list(run);
    }

    if (list.count) {
        ngx_gcs_check_say(report, NGX_GCS_CHECK_LIST, NGX_GCS_CHECK_OK,
                          "objects were found, the first page has %ui",
                          list.count);
    }

    if (list.name.len == 0) {
        run->empty = 1;
    }

    if (list.count == 0) {
        ngx_gcs_check_say(report, NGX_GCS_CHECK_LIST, NGX_GCS_CHECK_OK,
                          "allowed, but nothing is there");
        ngx_gcs_check_because(report, NGX_GCS_CHECK_LIST, "prefix_empty");

        report->steps[NGX_GCS_CHECK_LIST].warning = 1;
    }

    return NGX_OK;
}
