
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/* nothing here locks or allocates: counters are added to in one atomic step */


static void ngx_http_gcs_status_verdict(ngx_http_gcs_takeover_t *t);
static ngx_gcs_metrics_row_t *ngx_http_gcs_status_of(ngx_http_request_t *r,
    ngx_http_gcs_status_location_t *location, ngx_http_gcs_ctx_t *ctx);


/*
 * A request belongs to the location that it is in, else to the last of ours
 * that it was in: an "error_page" may have taken it elsewhere.
 */

ngx_int_t
ngx_http_gcs_status_log_handler(ngx_http_request_t *r)
{
    ngx_uint_t                       status;
    ngx_http_gcs_ctx_t              *ctx;
    ngx_gcs_metrics_row_t           *row;
    ngx_http_gcs_loc_conf_t         *glcf;
    ngx_http_gcs_status_location_t  *location;

    if (r != r->main) {
        return NGX_OK;
    }

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);
    ctx = ngx_http_gcs_get_ctx(r);

    if (ctx && ctx->takeover) {
        ngx_http_gcs_status_verdict(ctx->takeover);
    }

    location = glcf->status ? glcf->status : ctx ? ctx->location : NULL;

    if (location == NULL || !location->conf->passing) {
        return NGX_OK;
    }

    row = ngx_http_gcs_status_of(r, location, ctx);

    status = r->err_status ? r->err_status : r->headers_out.status;

    ngx_gcs_metrics_add(row, ngx_gcs_metrics_code(status), 1);
    ngx_gcs_metrics_add(row, NGX_GCS_METRICS_SENT, r->connection->sent);

    return NGX_OK;
}


static void
ngx_http_gcs_status_verdict(ngx_http_gcs_takeover_t *t)
{
    ngx_int_t  counter;

    counter = ngx_gcs_metrics_verdict(&t->status);

    if (counter != NGX_ERROR) {
        ngx_gcs_metrics_add(t->conf->status->row, counter, 1);
    }
}


void
ngx_http_gcs_status_upstream(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_uint_t                 i, n;
    ngx_gcs_metrics_row_t     *row;
    ngx_http_upstream_state_t *state;

    if (ctx->location == NULL || r->upstream_states == NULL) {
        return;
    }

    row = ngx_http_gcs_status_of(r, ctx->location, ctx);

    if (row == NULL) {
        return;
    }

    /*
     * One for each request that was sent.  Of what was asked before an
     * internal redirect they are parted by one without a peer.
     */

    state = r->upstream_states->elts;
    n = 0;

    for (i = r->upstream_states->nelts; i && state[i - 1].peer; i--) {
        if (state[i - 1].response_time != (ngx_msec_t) -1) {
            ngx_gcs_metrics_time(row, state[i - 1].response_time);
            n++;
        }
    }

    if (n > 1) {
        ngx_gcs_metrics_add(row, NGX_GCS_METRICS_RETRIES, n - 1);
    }
}


static ngx_gcs_metrics_row_t *
ngx_http_gcs_status_of(ngx_http_request_t *r,
    ngx_http_gcs_status_location_t *location, ngx_http_gcs_ctx_t *ctx)
{
    ngx_str_t                 *bucket;
    ngx_http_gcs_main_conf_t  *gmcf;

    static ngx_str_t  none = ngx_string("");

    gmcf = ngx_http_get_module_main_conf(r, ngx_http_gcs_proxy_module);

    if (location->conf->pass == NULL && location->conf->api == NULL) {
        bucket = &location->conf->target.bucket;

    } else {
        bucket = (ctx && ctx->location == location && ctx->addressed)
                 ? &ctx->object.bucket : &none;
    }

    return ngx_http_gcs_status_row(gmcf->status, location, bucket);
}


ngx_gcs_metrics_row_t *
ngx_http_gcs_status_row(ngx_http_gcs_status_t *status,
    ngx_http_gcs_status_location_t *location, ngx_str_t *bucket)
{
    ngx_gcs_metrics_row_t  *row;

    if (location->row == NULL) {
        return NULL;
    }

    row = location->last;

    if (row == NULL
        || row->ready != bucket->len + 1
        || ngx_memcmp(row->name, bucket->data, bucket->len) != 0)
    {
        row = ngx_gcs_metrics_bucket(status->table, location->row, bucket);
        location->last = row;
    }

    return row;
}
