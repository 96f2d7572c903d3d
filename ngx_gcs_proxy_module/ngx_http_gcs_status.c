
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


static ngx_uint_t ngx_http_gcs_status_format(ngx_http_request_t *r,
    ngx_http_gcs_status_page_t *page);
static ngx_int_t ngx_http_gcs_status_collect(ngx_http_request_t *r,
    ngx_gcs_metrics_page_t *page);
static ngx_int_t ngx_http_gcs_status_location(ngx_http_gcs_status_t *status,
    ngx_http_gcs_status_location_t *location, ngx_gcs_metrics_page_t *page);
static ngx_int_t ngx_http_gcs_status_credentials(
    ngx_http_gcs_main_conf_t *gmcf, ngx_gcs_metrics_page_t *page);
static ngx_int_t ngx_http_gcs_status_token(ngx_gcs_metrics_page_t *page,
    ngx_str_t *name, ngx_gcs_token_t *token, ngx_gcs_metrics_row_t *row);
static ngx_int_t ngx_http_gcs_status_send(ngx_http_request_t *r,
    ngx_str_t *type, ngx_str_t *text);


ngx_int_t
ngx_http_gcs_status_handler(ngx_http_request_t *r)
{
    ngx_int_t                 rc;
    ngx_str_t                 text, *type;
    ngx_uint_t                format;
    ngx_gcs_metrics_page_t    page;
    ngx_http_gcs_loc_conf_t  *glcf;

    static ngx_str_t  allow = ngx_string("GET, HEAD");
    static ngx_str_t  json = ngx_string("application/json");
    static ngx_str_t  prometheus =
        ngx_string("text/plain; version=0.0.4; charset=utf-8");
    static ngx_str_t  openmetrics =
        ngx_string("application/openmetrics-text; version=1.0.0; "
                   "charset=utf-8");

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    if (!glcf->status_page->everyone && !ngx_http_gcs_local(r)) {
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

    format = ngx_http_gcs_status_format(r, glcf->status_page);

    ngx_memzero(&page, sizeof(ngx_gcs_metrics_page_t));

    page.openmetrics = (format == NGX_HTTP_GCS_STATUS_OPENMETRICS);

    if (ngx_http_gcs_status_collect(r, &page) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (format == NGX_HTTP_GCS_STATUS_JSON) {
        type = &json;
        rc = ngx_gcs_metrics_json(r->pool, &page, &text);

    } else {
        type = page.openmetrics ? &openmetrics : &prometheus;
        rc = ngx_gcs_metrics_prometheus(r->pool, &page, &text);
    }

    if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_gcs_status_send(r, type, &text);
}


static ngx_uint_t
ngx_http_gcs_status_format(ngx_http_request_t *r,
    ngx_http_gcs_status_page_t *page)
{
    ngx_str_t  *accept;

    static u_char  openmetrics[] = "application/openmetrics-text";
    static u_char  text[] = "version=0.0.4";

    if (page->format == NGX_HTTP_GCS_STATUS_JSON) {
        return NGX_HTTP_GCS_STATUS_JSON;
    }

    accept = ngx_http_gcs_find_header(&r->headers_in.headers, "Accept");

    if (accept
        && ngx_strlcasestrn(accept->data, accept->data + accept->len,
                            openmetrics, sizeof(openmetrics) - 2))
    {
        return NGX_HTTP_GCS_STATUS_OPENMETRICS;
    }

    /* what scrapes asks for this, nobody else does */

    if (page->format == NGX_HTTP_GCS_STATUS_PROMETHEUS
        || (accept
            && ngx_strlcasestrn(accept->data, accept->data + accept->len,
                                text, sizeof(text) - 2)))
    {
        return NGX_HTTP_GCS_STATUS_PROMETHEUS;
    }

    return NGX_HTTP_GCS_STATUS_JSON;
}


static ngx_int_t
ngx_http_gcs_status_collect(ngx_http_request_t *r,
    ngx_gcs_metrics_page_t *page)
{
    ngx_uint_t                        i, n;
    ngx_http_gcs_status_t            *status;
    ngx_http_gcs_main_conf_t         *gmcf;
    ngx_http_gcs_status_location_t  **location;

    gmcf = ngx_http_get_module_main_conf(r, ngx_http_gcs_proxy_module);
    status = gmcf->status;

    ngx_str_set(&page->version, NGX_HTTP_GCS_VERSION);

    if (ngx_array_init(&page->requests, r->pool, 16,
                       sizeof(ngx_gcs_metrics_requests_t))
        != NGX_OK
        || ngx_array_init(&page->takeovers, r->pool, 4,
                          sizeof(ngx_gcs_metrics_requests_t))
           != NGX_OK
        || ngx_array_init(&page->credentials, r->pool, 4,
                          sizeof(ngx_gcs_metrics_credentials_t))
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    location = status->locations.elts;

    for (i = 0; i < status->locations.nelts; i++) {

        /* servers of the same name share the rows of their locations */

        for (n = 0; n < i; n++) {
            if (location[n]->row == location[i]->row) {
                break;
            }
        }

        if (n == i && location[i]->row
            && ngx_http_gcs_status_location(status, location[i], page)
               != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return ngx_http_gcs_status_credentials(gmcf, page);
}


static ngx_int_t
ngx_http_gcs_status_location(ngx_http_gcs_status_t *status,
    ngx_http_gcs_status_location_t *location, ngx_gcs_metrics_page_t *page)
{
    ngx_uint_t                   i;
    ngx_gcs_metrics_row_t       *row;
    ngx_gcs_metrics_requests_t  *entry;

    if (location->conf->takeover) {
        entry = ngx_array_push(&page->takeovers);
        if (entry == NULL) {
            return NGX_ERROR;
        }

        entry->server = location->server;
        entry->location = location->name;
        entry->row = location->row;
    }

    for (i = 0; i < status->table->nrows; i++) {
        row = &status->table->rows[i];

        if (row->ready == 0
            || row->owner != location->row->key
            || row == location->row)
        {
            continue;
        }

        entry = ngx_array_push(&page->requests);
        if (entry == NULL) {
            return NGX_ERROR;
        }

        entry->server = location->server;
        entry->location = location->name;
        entry->bucket.data = row->name;
        entry->bucket.len = row->ready - 1;
        entry->row = row;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_gcs_status_credentials(ngx_http_gcs_main_conf_t *gmcf,
    ngx_gcs_metrics_page_t *page)
{
    ngx_str_t                  *name;
    ngx_uint_t                  i;
    ngx_gcs_signer_t           *signer;
    ngx_gcs_metrics_row_t      *row;
    ngx_http_gcs_identity_t   **identity;

    identity = gmcf->identities.elts;

    for (i = 0; i < gmcf->identities.nelts; i++) {
        name = &identity[i]->name;
        row = identity[i]->metrics;

        if ((identity[i]->token || row)
            && ngx_http_gcs_status_token(page, name, identity[i]->token, row)
               != NGX_OK)
        {
            return NGX_ERROR;
        }

        /* the token that IAM is asked with */

        signer = identity[i]->signer;

        if (signer && signer->token != identity[i]->token
            && ngx_http_gcs_status_token(page, &signer->source->name,
                                         signer->token, NULL)
               != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_gcs_status_token(ngx_gcs_metrics_page_t *page, ngx_str_t *name,
    ngx_gcs_token_t *token, ngx_gcs_metrics_row_t *row)
{
    ngx_gcs_token_state_t           state;
    ngx_gcs_metrics_credentials_t  *entry;

    entry = ngx_array_push(&page->credentials);
    if (entry == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(entry, sizeof(ngx_gcs_metrics_credentials_t));

    entry->name = ngx_gcs_metrics_clean(page->credentials.pool, name);
    if (entry->name.data == NULL) {
        return NGX_ERROR;
    }

    entry->row = row;

    if (token == NULL) {
        return NGX_OK;
    }

    ngx_gcs_token_state(token, &state);

    entry->state = ngx_http_gcs_token_word(&state);
    entry->fetches = state.fetches;
    entry->failures = state.errors;
    entry->age = state.expires ? state.age : -1;
    entry->expires = state.expires ? state.expires - ngx_time() : -1;

    return NGX_OK;
}


static ngx_int_t
ngx_http_gcs_status_send(ngx_http_request_t *r, ngx_str_t *type,
    ngx_str_t *text)
{
    ngx_http_complex_value_t  cv;

    static ngx_str_t  no_store = ngx_string("no-store");

    /* a cache would show the figures of another moment, or another format */

    if (ngx_http_gcs_add_header(r, "Cache-Control", &no_store) == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memzero(&cv, sizeof(ngx_http_complex_value_t));
    cv.value = *text;

    return ngx_http_send_response(r, NGX_HTTP_OK, type, &cv);
}
