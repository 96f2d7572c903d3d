
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_api.h"


/* "/b/B/o/NAME/rewriteTo/b/B/o/NAME" */
#define NGX_GCS_API_SEGMENTS  9


static ngx_int_t ngx_gcs_api_json_path(ngx_gcs_api_t *api, ngx_str_t *segment,
    ngx_uint_t n);
static ngx_int_t ngx_gcs_api_json_bucket(ngx_gcs_api_t *api, ngx_str_t *what);
static ngx_int_t ngx_gcs_api_json_object(ngx_gcs_api_t *api);
static ngx_int_t ngx_gcs_api_json_upload(ngx_gcs_api_t *api);
static ngx_int_t ngx_gcs_api_json_copy(ngx_gcs_api_t *api, ngx_str_t *segment);
static ngx_int_t ngx_gcs_api_json_move(ngx_gcs_api_t *api, ngx_str_t *segment);


/* rest is "b/BUCKET..."; a slash in a name is escaped, so it parts nothing */

ngx_int_t
ngx_gcs_api_json(ngx_gcs_api_t *api, ngx_str_t *rest)
{
    u_char     *p, *last, *start;
    ngx_int_t   rc;
    ngx_str_t   segment[NGX_GCS_API_SEGMENTS];
    ngx_uint_t  n;

    last = rest->data + rest->len;
    start = rest->data;

    for (n = 0; /* void */ ; n++) {

        if (n == NGX_GCS_API_SEGMENTS) {
            return ngx_gcs_api_unknown(api);
        }

        p = ngx_strlchr(start, last, '/');
        if (p == NULL) {
            p = last;
        }

        rc = ngx_gcs_api_decode(api, start, p - start, 0, &segment[n]);
        if (rc != NGX_OK) {
            return rc;
        }

        if (p == last) {
            n++;
            break;
        }

        start = p + 1;
    }

    return ngx_gcs_api_json_path(api, segment, n);
}


static ngx_int_t
ngx_gcs_api_json_path(ngx_gcs_api_t *api, ngx_str_t *segment, ngx_uint_t n)
{
    if (n == 1) {
        return ngx_gcs_api_refuse(api, 403, "api_not_supported",
                   "buckets are neither listed nor made through \"gcs_api\"");
    }

    api->object.bucket = segment[1];

    if (n == 2 || (n == 3 && !ngx_gcs_api_is(&segment[2], "o"))) {
        return ngx_gcs_api_json_bucket(api, n == 3 ? &segment[2] : NULL);
    }

    if (n == 4 && ngx_gcs_api_is(&segment[2], "iam")
        && ngx_gcs_api_is(&segment[3], "testPermissions")
        && !api->uploads && !api->downloads
        && api->method == NGX_GCS_API_M_GET)
    {
        api->op = NGX_GCS_API_PERMISSIONS;
        api->needs = NGX_GCS_API_READS;

        return NGX_OK;
    }

    if (!ngx_gcs_api_is(&segment[2], "o")) {
        return ngx_gcs_api_unknown(api);
    }

    if (n == 3) {

        if (api->uploads) {
            return ngx_gcs_api_json_upload(api);
        }

        if (api->downloads || api->method != NGX_GCS_API_M_GET) {
            return ngx_gcs_api_unknown(api);
        }

        api->op = NGX_GCS_API_LIST;
        api->needs = NGX_GCS_API_READS;

        return NGX_OK;
    }

    if (api->uploads || segment[3].len == 0) {
        return ngx_gcs_api_unknown(api);
    }

    api->object.name = segment[3];

    if (n == 4) {
        return ngx_gcs_api_json_object(api);
    }

    if (api->downloads || api->method != NGX_GCS_API_M_POST) {
        return ngx_gcs_api_unknown(api);
    }

    if (n == 5 && ngx_gcs_api_is(&segment[4], "compose")) {
        api->op = NGX_GCS_API_COMPOSE;
        api->needs = NGX_GCS_API_READS|NGX_GCS_API_WRITES;
        api->body = NGX_GCS_API_METADATA;

        return NGX_OK;
    }

    if (n == 7) {
        return ngx_gcs_api_json_move(api, segment);
    }

    if (n == 9) {
        return ngx_gcs_api_json_copy(api, segment);
    }

    return ngx_gcs_api_unknown(api);
}


static ngx_int_t
ngx_gcs_api_json_bucket(ngx_gcs_api_t *api, ngx_str_t *what)
{
    if (api->uploads || api->downloads || api->method != NGX_GCS_API_M_GET) {
        return ngx_gcs_api_unknown(api);
    }

    if (what == NULL) {
        api->op = NGX_GCS_API_BUCKET;

    } else if (ngx_gcs_api_is(what, "storageLayout")) {
        api->op = NGX_GCS_API_LAYOUT;

    } else {
        return ngx_gcs_api_unknown(api);
    }

    api->needs = NGX_GCS_API_READS;

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_api_json_object(ngx_gcs_api_t *api)
{
    ngx_str_t  *alt;

    switch (api->method) {

    case NGX_GCS_API_M_GET:
    case NGX_GCS_API_M_HEAD:

        alt = ngx_gcs_api_param(api, "alt");

        api->op = NGX_GCS_API_GET;
        api->needs = NGX_GCS_API_READS;
        api->media = api->downloads
                     || (alt && ngx_gcs_api_is(alt, "media"));

        return NGX_OK;

    case NGX_GCS_API_M_DELETE:

        if (api->downloads) {
            break;
        }

        api->op = NGX_GCS_API_DELETE;
        api->needs = NGX_GCS_API_DELETES;

        return NGX_OK;

    case NGX_GCS_API_M_PUT:
    case NGX_GCS_API_M_PATCH:

        if (api->downloads) {
            break;
        }

        api->op = NGX_GCS_API_UPDATE;
        api->needs = NGX_GCS_API_WRITES;
        api->body = NGX_GCS_API_METADATA;

        return NGX_OK;

    default:
        break;
    }

    return ngx_gcs_api_unknown(api);
}


static ngx_int_t
ngx_gcs_api_json_upload(ngx_gcs_api_t *api)
{
    ngx_str_t  *type, *name, none;

    ngx_str_null(&none);

    type = ngx_gcs_api_param(api, "uploadType");
    type = type ? type : &none;

    name = ngx_gcs_api_param(api, "name");

    if (name) {
        api->object.name = *name;
    }

    api->needs = NGX_GCS_API_WRITES;

    if (ngx_gcs_api_param(api, "upload_id")) {

        if ((type->len && !ngx_gcs_api_is(type, "resumable"))
            || (api->method != NGX_GCS_API_M_PUT
                && api->method != NGX_GCS_API_M_POST
                && api->method != NGX_GCS_API_M_DELETE))
        {
            return ngx_gcs_api_unknown(api);
        }

        api->op = NGX_GCS_API_SESSION;
        api->body = (api->method == NGX_GCS_API_M_DELETE)
                    ? NGX_GCS_API_NONE : NGX_GCS_API_STREAM;

        return NGX_OK;
    }

    if (api->method != NGX_GCS_API_M_POST) {
        return ngx_gcs_api_unknown(api);
    }

    api->op = NGX_GCS_API_UPLOAD;

    if (ngx_gcs_api_is(type, "media")) {

        if (api->object.name.len == 0) {
            return ngx_gcs_api_refuse(api, 400, "no_object_name",
                                      "an upload without a name");
        }

        api->body = NGX_GCS_API_STREAM;

    } else if (ngx_gcs_api_is(type, "multipart")) {
        api->body = NGX_GCS_API_MULTIPART;

    } else if (ngx_gcs_api_is(type, "resumable")) {
        api->body = NGX_GCS_API_METADATA;
        api->starts = 1;

    } else {
        return ngx_gcs_api_unknown(api);
    }

    return NGX_OK;
}


/* "b", BUCKET, "o", NAME, "rewriteTo", "b", BUCKET, "o", NAME */

static ngx_int_t
ngx_gcs_api_json_copy(ngx_gcs_api_t *api, ngx_str_t *segment)
{
    if ((!ngx_gcs_api_is(&segment[4], "rewriteTo")
         && !ngx_gcs_api_is(&segment[4], "copyTo"))
        || !ngx_gcs_api_is(&segment[5], "b")
        || !ngx_gcs_api_is(&segment[7], "o")
        || segment[8].len == 0)
    {
        return ngx_gcs_api_unknown(api);
    }

    api->op = NGX_GCS_API_COPY;
    api->needs = NGX_GCS_API_READS|NGX_GCS_API_WRITES;
    api->body = NGX_GCS_API_METADATA;

    api->source = api->object;
    api->object.bucket = segment[6];
    api->object.name = segment[8];

    api->older = ngx_gcs_api_is(&segment[4], "copyTo");

    return NGX_OK;
}


/* "b", BUCKET, "o", NAME, "moveTo", "o", NAME */

static ngx_int_t
ngx_gcs_api_json_move(ngx_gcs_api_t *api, ngx_str_t *segment)
{
    if (!ngx_gcs_api_is(&segment[4], "moveTo")
        || !ngx_gcs_api_is(&segment[5], "o")
        || segment[6].len == 0)
    {
        return ngx_gcs_api_unknown(api);
    }

    api->op = NGX_GCS_API_MOVE;
    api->needs = NGX_GCS_API_WRITES|NGX_GCS_API_DELETES;
    api->body = NGX_GCS_API_METADATA;

    api->source = api->object;
    api->object.name = segment[6];

    return NGX_OK;
}
