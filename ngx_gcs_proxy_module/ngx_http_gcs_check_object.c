
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/* the steps of "gcs_check" that read an object, or ask what may be written */


static ngx_int_t ngx_http_gcs_check_read_answer(ngx_http_gcs_check_run_t *run,
    ngx_gcs_response_t *res);
static ngx_int_t ngx_http_gcs_check_write_answer(
    ngx_http_gcs_check_run_t *run, ngx_gcs_response_t *res);
static ngx_int_t ngx_http_gcs_check_cors_answer(ngx_http_gcs_check_run_t *run,
    ngx_gcs_response_t *res);


ngx_int_t
ngx_http_gcs_check_read(ngx_http_gcs_check_run_t *run)
{
    ngx_int_t                  rc;
    ngx_pool_t                *pool;
    ngx_http_gcs_check_ask_t   ask;

    if (!run->authorized) {
        return NGX_OK;
    }

    if (run->object.len == 0) {

        if (run->empty) {

            /* that it could be listed stands for it */

            ngx_gcs_check_say(&run->report, NGX_GCS_CHECK_READ,
                              NGX_GCS_CHECK_SKIPPED,
                              "there is no object to be read");
            ngx_gcs_check_say(&run->report, NGX_GCS_CHECK_RANGE,
                              NGX_GCS_CHECK_SKIPPED,
                              "there is no object to be read");

            run->report.steps[NGX_GCS_CHECK_READ].exempt = 1;
            run->report.steps[NGX_GCS_CHECK_RANGE].exempt = 1;

        } else {
            ngx_gcs_check_say(&run->report, NGX_GCS_CHECK_READ,
                              NGX_GCS_CHECK_SKIPPED,
                              "no object is known, as nothing was listed: "
                              "name one in \"gcs_check\"");
        }

        return NGX_OK;
    }

    pool = ngx_create_pool(2048, ngx_cycle->log);
    if (pool == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(&ask, sizeof(ngx_http_gcs_check_ask_t));

    rc = ngx_http_gcs_check_ask_object(run, pool, &ask);

    if (rc == NGX_OK) {
        rc = ngx_http_gcs_check_ask(run, NGX_GCS_CHECK_READ, &ask,
                                    ngx_http_gcs_check_read_answer);
    }

    ngx_destroy_pool(pool);

    return rc;
}


static ngx_int_t
ngx_http_gcs_check_read_answer(ngx_http_gcs_check_run_t *run,
    ngx_gcs_response_t *res)
{
    ngx_str_t         name;
    ngx_gcs_check_t  *report;

    report = &run->report;

    if (res->status != NGX_HTTP_OK
        && res->status != NGX_HTTP_PARTIAL_CONTENT
        && res->status != NGX_HTTP_RANGE_NOT_SATISFIABLE)
    {
        return ngx_http_gcs_check_refused(run, NGX_GCS_CHECK_READ, res,
                                          "an object could not be read");
    }

    name = ngx_gcs_check_clean(run->pool, &run->object, 200);

    if (name.data == NULL) {
        return NGX_ERROR;
    }

    ngx_gcs_check_say(report, NGX_GCS_CHECK_READ, NGX_GCS_CHECK_OK,
                      "\"%V\" was read", &name);

    if (run->size == 0
        || (res->status == NGX_HTTP_RANGE_NOT_SATISFIABLE && run->size == -1))
    {
        report->steps[NGX_GCS_CHECK_RANGE].exempt = 1;
        ngx_gcs_check_say(report, NGX_GCS_CHECK_RANGE, NGX_GCS_CHECK_SKIPPED,
                          "the object has no bytes");
        return NGX_OK;
    }

    if (res->status == NGX_HTTP_PARTIAL_CONTENT
        && ngx_gcs_check_first_byte(&res->headers[1], run->size))
    {
        ngx_gcs_check_say(report, NGX_GCS_CHECK_RANGE, NGX_GCS_CHECK_OK,
                          "one byte was asked for, and no more came");
        return NGX_OK;
    }

    ngx_gcs_check_say(report, NGX_GCS_CHECK_RANGE, NGX_GCS_CHECK_FAILED,
                      "one byte was asked for, and %ui was answered",
                      res->status);
    ngx_gcs_check_because(report, NGX_GCS_CHECK_RANGE, "range_ignored");

    return NGX_OK;
}


/* asks for the permissions, nothing is written */

ngx_int_t
ngx_http_gcs_check_write(ngx_http_gcs_check_run_t *run)
{
    u_char                     path[sizeof("/storage/v1/b//iam/"
                                           "testPermissions") + 256];
    ngx_http_gcs_check_ask_t   ask;

    if (!(run->check->conf->allowed & NGX_HTTP_GCS_WRITE)) {
        ngx_gcs_check_say(&run->report, NGX_GCS_CHECK_WRITE,
                          NGX_GCS_CHECK_SKIPPED,
                          "\"gcs_methods\" has neither \"PUT\" nor "
                          "\"DELETE\"");
        return NGX_OK;
    }

    if (!run->authorized) {
        return NGX_OK;
    }

    if (ngx_http_gcs_hmac(run->identity)) {
        ngx_gcs_check_say(&run->report, NGX_GCS_CHECK_WRITE,
                          NGX_GCS_CHECK_SKIPPED,
                          "with an HMAC key permissions cannot be asked for "
                          "without writing");
        return NGX_OK;
    }

    ngx_memzero(&ask, sizeof(ngx_http_gcs_check_ask_t));

    ask.method = "GET";
    ask.limit = 32768;
    ask.path.data = path;
    ask.path.len = ngx_snprintf(path, sizeof(path),
                                "/storage/v1/b/%V/iam/testPermissions",
                                &run->check->target.bucket)
                   - path;
    ngx_str_set(&ask.query, "permissions=storage.objects.create"
                            "&permissions=storage.objects.delete"
                            "&permissions=storage.objects.get"
                            "&permissions=storage.objects.list");

    return ngx_http_gcs_check_ask(run, NGX_GCS_CHECK_WRITE, &ask,
                                  ngx_http_gcs_check_write_answer);
}


static ngx_int_t
ngx_http_gcs_check_write_answer(ngx_http_gcs_check_run_t *run,
    ngx_gcs_response_t *res)
{
    ngx_uint_t        held, needed;
    ngx_gcs_check_t  *report;

    static char  *names[] = {
        "storage.objects.create",
        "storage.objects.delete",
        "storage.objects.get",
        "storage.objects.list",
        NULL
    };

    report = &run->report;

    if (res->status != NGX_HTTP_OK
        || ngx_gcs_check_permissions(&res->body, names, &held) != NGX_OK)
    {
        return ngx_http_gcs_check_refused(run, NGX_GCS_CHECK_WRITE, res,
                                          "permissions could not be asked "
                                          "for");
    }

    needed = 0;

    if (run->check->conf->allowed & NGX_HTTP_PUT) {

        /* the second is needed to replace an object */

        needed |= 1|2;
    }

    if (run->check->conf->allowed & NGX_HTTP_DELETE) {
        needed |= 2;
    }

    if ((held & needed) == needed) {
        ngx_gcs_check_say(report, NGX_GCS_CHECK_WRITE, NGX_GCS_CHECK_OK,
                          "allowed; nothing was written");
        return NGX_OK;
    }

    ngx_gcs_check_say(report, NGX_GCS_CHECK_WRITE, NGX_GCS_CHECK_FAILED,
                      "not granted:%s%s",
                      (needed & ~held & 1) ? " storage.objects.create" : "",
                      (needed & ~held & 2) ? " storage.objects.delete" : "");
    ngx_gcs_check_because(report, NGX_GCS_CHECK_WRITE, "write_denied");

    return NGX_OK;
}


/* an object is asked for as each origin would: that needs no permission */

ngx_int_t
ngx_http_gcs_check_cors(ngx_http_gcs_check_run_t *run)
{
    ngx_int_t                  rc;
    ngx_str_t                 *origin;
    ngx_pool_t                *pool;
    ngx_http_gcs_check_ask_t   ask;

    if (run->check->origins == NULL) {
        ngx_gcs_check_say(&run->report, NGX_GCS_CHECK_CORS,
                          NGX_GCS_CHECK_SKIPPED,
                          "no \"origin=\" is given");
        return NGX_OK;
    }

    if (!run->authorized) {
        return NGX_OK;
    }

    if (run->object.len == 0
        || run->report.steps[NGX_GCS_CHECK_READ].status != NGX_GCS_CHECK_OK)
    {
        run->report.steps[NGX_GCS_CHECK_CORS].exempt = run->empty;
        ngx_gcs_check_say(&run->report, NGX_GCS_CHECK_CORS,
                          NGX_GCS_CHECK_SKIPPED,
                          "there is no object that could be read");
        return NGX_OK;
    }

    pool = ngx_create_pool(2048, ngx_cycle->log);
    if (pool == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(&ask, sizeof(ngx_http_gcs_check_ask_t));

    origin = run->check->origins->elts;
    ask.origin = &origin[run->origin];

    rc = ngx_http_gcs_check_ask_object(run, pool, &ask);

    if (rc == NGX_OK) {
        rc = ngx_http_gcs_check_ask(run, NGX_GCS_CHECK_CORS, &ask,
                                    ngx_http_gcs_check_cors_answer);
    }

    ngx_destroy_pool(pool);

    return rc;
}


static ngx_int_t
ngx_http_gcs_check_cors_answer(ngx_http_gcs_check_run_t *run,
    ngx_gcs_response_t *res)
{
    ngx_int_t         rc;
    ngx_str_t        *origin;
    ngx_gcs_check_t  *report;

    report = &run->report;

    if (res->status >= NGX_HTTP_SPECIAL_RESPONSE
        && res->status != NGX_HTTP_RANGE_NOT_SATISFIABLE)
    {
        return ngx_http_gcs_check_refused(run, NGX_GCS_CHECK_CORS, res,
                                          "an object could not be read");
    }

    origin = run->check->origins->elts;
    origin += run->origin;

    rc = ngx_gcs_check_cors(origin, &res->headers[2], &res->headers[3]);

    if (rc == NGX_DECLINED) {
        ngx_gcs_check_say(report, NGX_GCS_CHECK_CORS, NGX_GCS_CHECK_FAILED,
                          "the bucket does not let \"%V\" read", origin);
        ngx_gcs_check_because(report, NGX_GCS_CHECK_CORS, "cors_missing");
        return NGX_OK;
    }

    if (rc == NGX_AGAIN) {
        run->hidden++;
    }

    if (++run->origin < run->check->origins->nelts) {
        return ngx_http_gcs_check_cors(run);
    }

    ngx_gcs_check_say(report, NGX_GCS_CHECK_CORS, NGX_GCS_CHECK_OK,
                      "the bucket lets each origin read; that matters only "
                      "for signed URLs, what nginx passes on is answered by "
                      "\"gcs_cors\"");

    if (run->hidden) {
        report->steps[NGX_GCS_CHECK_CORS].warning = 1;
        ngx_gcs_check_because(report, NGX_GCS_CHECK_CORS, "cors_not_exposed");
    }

    return NGX_OK;
}
