
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/* the steps of "gcs_check", one after another, from event to event */


static void ngx_http_gcs_check_unsaid(ngx_http_gcs_check_run_t *run,
    ngx_uint_t kept);


static ngx_http_gcs_check_stage_pt  ngx_http_gcs_check_stages[] = {
    ngx_http_gcs_check_credential,
    ngx_http_gcs_check_token,
    ngx_http_gcs_check_connect,
    ngx_http_gcs_check_bucket,
    ngx_http_gcs_check_list,
    ngx_http_gcs_check_read,
    ngx_http_gcs_check_sign,
    ngx_http_gcs_check_write,
    ngx_http_gcs_check_cors,
    NULL
};


ngx_http_gcs_check_run_t *
ngx_http_gcs_check_create(ngx_http_gcs_check_t *check, ngx_str_t *user_project)
{
    ngx_pool_t                *pool;
    ngx_gcs_check_t           *report;
    ngx_http_gcs_check_run_t  *run;

    pool = ngx_create_pool(4096, ngx_cycle->log);
    if (pool == NULL) {
        return NULL;
    }

    run = ngx_pcalloc(pool, sizeof(ngx_http_gcs_check_run_t));
    if (run == NULL) {
        ngx_destroy_pool(pool);
        return NULL;
    }

    run->pool = pool;
    run->check = check;
    run->identity = check->conf->identity;
    run->user_project = *user_project;
    run->started = ngx_current_msec;
    run->size = -1;

    report = &run->report;

    report->pool = pool;
    report->url = check->url;
    report->credentials = run->identity->name;
    report->endpoint = check->endpoint;
    report->bucket = check->target.bucket;
    report->origins = check->cors;
    report->host = ngx_http_gcs_address(check->conf)->name;
    report->port = check->port;
    report->billed = ngx_gcs_check_word(user_project);

    ngx_http_gcs_check_unsaid(run, 0);

    return run;
}


/* all steps but those kept, as bits, are as if nothing had been asked */

static void
ngx_http_gcs_check_unsaid(ngx_http_gcs_check_run_t *run, ngx_uint_t kept)
{
    ngx_uint_t             i;
    ngx_gcs_check_step_t  *step;

    for (i = 0; i < NGX_GCS_CHECK_STEPS; i++) {

        if ((kept >> i) & 1) {
            continue;
        }

        step = &run->report.steps[i];

        ngx_memzero(step, sizeof(ngx_gcs_check_step_t));

        step->required = (run->check->required >> i) & 1;

        ngx_gcs_check_say(&run->report, i, NGX_GCS_CHECK_SKIPPED,
                          "nothing was asked: an earlier step has failed");
    }
}


void
ngx_http_gcs_check_go(ngx_http_gcs_check_run_t *run)
{
    ngx_int_t                    rc;
    ngx_http_gcs_check_stage_pt  stage;

    for ( ;; ) {
        stage = ngx_http_gcs_check_stages[run->stage];

        if (stage == NULL) {
            break;
        }

        run->begun = ngx_current_msec;

        rc = stage(run);

        if (rc == NGX_AGAIN) {
            return;
        }

        if (rc == NGX_ERROR) {
            ngx_http_gcs_check_end(run, NGX_ERROR);
            return;
        }

        run->stage++;
    }

    run->report.when = ngx_time();
    run->report.msec = ngx_current_msec - run->started;

    ngx_http_gcs_check_end(run, NGX_OK);
}


void
ngx_http_gcs_check_resume(ngx_http_gcs_check_run_t *run, ngx_int_t rc)
{
    if (rc == NGX_AGAIN) {
        return;
    }

    if (rc == NGX_ERROR) {
        ngx_http_gcs_check_end(run, NGX_ERROR);
        return;
    }

    run->stage++;

    ngx_http_gcs_check_go(run);
}


void
ngx_http_gcs_check_again(ngx_http_gcs_check_run_t *run)
{
    run->stage = 1;
    run->authorized = 0;
    run->empty = 0;
    run->pages = 0;
    run->origin = 0;
    run->hidden = 0;
    run->size = -1;

    ngx_str_null(&run->page);
    ngx_str_null(&run->object);

    /* a step that is not reached again has nothing of the first try's */

    ngx_http_gcs_check_unsaid(run,
                              ((ngx_uint_t) 1 << NGX_GCS_CHECK_CREDENTIAL)
                              |((ngx_uint_t) 1 << NGX_GCS_CHECK_TLS)
                              |((ngx_uint_t) 1 << NGX_GCS_CHECK_CLOCK));

    ngx_http_gcs_check_go(run);
}


void
ngx_http_gcs_check_destroy(ngx_http_gcs_check_run_t *run)
{
    if (run->fetch) {
        ngx_gcs_fetch_cancel(run->fetch);
        run->fetch = NULL;
    }

    ngx_gcs_token_cancel(&run->waiter);
    ngx_gcs_signing_cancel(&run->signing);

    ngx_destroy_pool(run->pool);
}


ngx_msec_t
ngx_http_gcs_check_left(ngx_http_gcs_check_run_t *run, ngx_msec_t max)
{
    ngx_msec_t  spent;

    spent = ngx_current_msec - run->started;

    if (spent >= NGX_HTTP_GCS_CHECK_TOTAL) {
        return 0;
    }

    return ngx_min(max, NGX_HTTP_GCS_CHECK_TOTAL - spent);
}


void
ngx_http_gcs_check_time(ngx_http_gcs_check_run_t *run, ngx_uint_t step)
{
    run->report.steps[step].msec += ngx_current_msec - run->begun;
    run->begun = ngx_current_msec;
}
