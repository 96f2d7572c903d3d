
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/*
 * "gcs_check": one run at a time in each worker, for all who ask meanwhile;
 * what it has found is shown for a while.  A run does not belong to a request:
 * it goes on when its client leaves, but keeps no worker from an exit.
 */


/* who waits for the end of a run; in the pool of the request */

typedef struct {
    ngx_gcs_wait_t        wait;
    ngx_http_request_t   *request;
    unsigned              post_action:1;
} ngx_http_gcs_check_waiter_t;


static ngx_uint_t ngx_http_gcs_check_valid(ngx_http_gcs_check_t *check);
static ngx_int_t ngx_http_gcs_check_start(ngx_http_request_t *r,
    ngx_http_gcs_check_t *check);
static ngx_int_t ngx_http_gcs_check_wait(ngx_http_request_t *r,
    ngx_http_gcs_check_t *check);
static void ngx_http_gcs_check_cleanup(void *data);
static void ngx_http_gcs_check_timeout(ngx_event_t *ev);
static void ngx_http_gcs_check_wake(ngx_http_gcs_check_waiter_t *waiter,
    ngx_int_t rc);
static ngx_int_t ngx_http_gcs_check_send(ngx_http_request_t *r,
    ngx_http_gcs_check_t *check);
static ngx_uint_t ngx_http_gcs_check_wants_html(ngx_http_request_t *r);


ngx_int_t
ngx_http_gcs_check_handler(ngx_http_request_t *r)
{
    ngx_int_t                 rc;
    ngx_http_gcs_check_t     *check;
    ngx_http_gcs_loc_conf_t  *glcf;

    static ngx_str_t  allow = ngx_string("GET, HEAD");

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    check = glcf->check;

    if (!check->everyone && !ngx_http_gcs_local(r)) {
        return NGX_HTTP_FORBIDDEN;
    }

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {

        return ngx_http_gcs_add_header(r, "Allow", &allow)
               ? NGX_HTTP_NOT_ALLOWED : NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_http_gcs_check_valid(check)) {
        return ngx_http_gcs_check_send(r, check);
    }

    if (check->running == NULL) {
        rc = ngx_http_gcs_check_start(r, check);

        if (rc != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    if (check->running == NULL) {

        /* it has ended already, there was nobody to ask */

        return check->done ? ngx_http_gcs_check_send(r, check)
                           : NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_gcs_check_wait(r, check);
}


/* one bad moment is not held against a probe for as long as a good one */

static ngx_uint_t
ngx_http_gcs_check_valid(ngx_http_gcs_check_t *check)
{
    time_t  valid;

    if (check->done == NULL) {
        return 0;
    }

    valid = check->valid;

    if (!ngx_gcs_check_passed(&check->done->report)) {
        valid = ngx_min(valid, NGX_HTTP_GCS_CHECK_FAILED);
    }

    return ngx_current_msec - check->ended < (ngx_msec_t) valid * 1000;
}


static ngx_int_t
ngx_http_gcs_check_start(ngx_http_request_t *r, ngx_http_gcs_check_t *check)
{
    ngx_str_t                  project;
    ngx_http_gcs_loc_conf_t   *conf;
    ngx_http_gcs_check_run_t  *run;

    conf = check->conf;

    /* without variables, as the merge has seen to */

    if (conf->user_project) {
        project = conf->user_project->value;

    } else {
        project = conf->identity->quota_project;
    }

    run = ngx_http_gcs_check_create(check, &project);
    if (run == NULL) {
        return NGX_ERROR;
    }

    check->running = run;

    ngx_http_gcs_check_go(run);

    return NGX_OK;
}


static ngx_int_t
ngx_http_gcs_check_wait(ngx_http_request_t *r, ngx_http_gcs_check_t *check)
{
    ngx_int_t                     rc;
    ngx_pool_cleanup_t           *cln;
    ngx_http_gcs_check_waiter_t  *waiter;

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_gcs_check_waiter_t));
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    waiter = cln->data;

    ngx_memzero(waiter, sizeof(ngx_http_gcs_check_waiter_t));

    cln->handler = ngx_http_gcs_check_cleanup;

    rc = ngx_http_gcs_watch(r, "waiting for gcs_check");
    if (rc != NGX_OK) {
        return rc;
    }

    waiter->request = r;
    waiter->post_action = r->post_action;

    ngx_gcs_wait(&waiter->wait, &check->waiters,
                 NGX_HTTP_GCS_CHECK_TOTAL + 1000, ngx_http_gcs_check_timeout,
                 r->connection->log);

    r->main->count++;

    return NGX_DONE;
}


/* of the pool of the request: it has been answered, or its client has left */

static void
ngx_http_gcs_check_cleanup(void *data)
{
    ngx_http_gcs_check_waiter_t *waiter = data;

    ngx_gcs_wait_cancel(&waiter->wait);
}


/* each step has its own limit, so that this is not expected */

static void
ngx_http_gcs_check_timeout(ngx_event_t *ev)
{
    ngx_http_gcs_check_waiter_t  *waiter;

    waiter = (ngx_http_gcs_check_waiter_t *)
                 ((u_char *) ev - offsetof(ngx_http_gcs_check_waiter_t,
                                           wait.timer));

    ngx_http_gcs_check_wake(waiter, NGX_HTTP_GATEWAY_TIME_OUT);
}


static void
ngx_http_gcs_check_wake(ngx_http_gcs_check_waiter_t *waiter, ngx_int_t rc)
{
    ngx_connection_t         *c;
    ngx_http_request_t       *r;
    ngx_http_gcs_loc_conf_t  *glcf;

    r = waiter->request;
    c = r->connection;

    ngx_http_gcs_check_cleanup(waiter);

    ngx_http_set_log_request(c->log, r);

    if (r->post_action != waiter->post_action) {

        /* its client has left, and "post_action" has taken it elsewhere */

        return;
    }

    ngx_http_gcs_unwatch(r);

    if (rc == NGX_OK) {
        glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

        rc = glcf->check ? ngx_http_gcs_check_send(r, glcf->check)
                         : NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_finalize_request(r, rc);

    ngx_http_run_posted_requests(c);
}


void
ngx_http_gcs_check_end(ngx_http_gcs_check_run_t *run, ngx_int_t rc)
{
    ngx_queue_t                  *q, waiters;
    ngx_http_gcs_check_t         *check;
    ngx_http_gcs_check_waiter_t  *waiter;

    check = run->check;
    check->running = NULL;

    if (rc == NGX_OK) {

        if (check->done) {
            ngx_http_gcs_check_destroy(check->done);
        }

        check->done = run;
        check->ended = ngx_current_msec;

    } else {
        ngx_http_gcs_check_destroy(run);

        rc = NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* those who come while these are told begin anew */

    ngx_queue_init(&waiters);

    if (!ngx_queue_empty(&check->waiters)) {
        ngx_queue_add(&waiters, &check->waiters);
        ngx_queue_init(&check->waiters);
    }

    while (!ngx_queue_empty(&waiters)) {
        q = ngx_queue_head(&waiters);
        waiter = ngx_queue_data(q, ngx_http_gcs_check_waiter_t, wait.queue);

        ngx_http_gcs_check_wake(waiter, rc);
    }
}


static ngx_int_t
ngx_http_gcs_check_send(ngx_http_request_t *r, ngx_http_gcs_check_t *check)
{
    ngx_int_t                  rc;
    ngx_str_t                 *type;
    ngx_uint_t                 html, brief, status;
    ngx_gcs_check_t           *report;
    ngx_http_complex_value_t   cv;

    static ngx_str_t  types[] = {
        ngx_string("application/json"),
        ngx_string("text/html; charset=utf-8")
    };

    static ngx_str_t  no_store = ngx_string("no-store");
    static ngx_str_t  nosniff = ngx_string("nosniff");
    static ngx_str_t  policy =
        ngx_string("default-src 'none'; style-src 'unsafe-inline'; "
                   "frame-ancestors 'none'");

    report = &check->done->report;

    /* whoever else may ask is not told whose it is */

    brief = !ngx_http_gcs_local(r);
    html = ngx_http_gcs_check_wants_html(r);
    type = &types[html];

    ngx_memzero(&cv, sizeof(ngx_http_complex_value_t));

    if (html) {
        rc = ngx_gcs_check_html(r->pool, report, ngx_time(), brief,
                                &cv.value);

    } else {
        rc = ngx_gcs_check_json(r->pool, report, ngx_time(), brief,
                                &cv.value);
    }

    if (rc != NGX_OK
        || ngx_http_gcs_add_header(r, "Cache-Control", &no_store) == NULL
        || ngx_http_gcs_add_header(r, "X-Content-Type-Options", &nosniff)
           == NULL
        || (html
            && ngx_http_gcs_add_header(r, "Content-Security-Policy", &policy)
               == NULL))
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    status = ngx_gcs_check_passed(report) ? NGX_HTTP_OK
                                          : NGX_HTTP_SERVICE_UNAVAILABLE;

    return ngx_http_send_response(r, status, type, &cv);
}


/* browsers name it first, nobody else does by default */

static ngx_uint_t
ngx_http_gcs_check_wants_html(ngx_http_request_t *r)
{
    u_char     *html, *json, *last;
    ngx_str_t  *accept;

    static u_char  text_html[] = "text/html";
    static u_char  application_json[] = "application/json";

    accept = ngx_http_gcs_find_header(&r->headers_in.headers, "Accept");

    if (accept == NULL) {
        return 0;
    }

    last = accept->data + accept->len;

    html = ngx_strlcasestrn(accept->data, last, text_html,
                            sizeof(text_html) - 2);
    json = ngx_strlcasestrn(accept->data, last, application_json,
                            sizeof(application_json) - 2);

    return html && (json == NULL || html < json);
}
