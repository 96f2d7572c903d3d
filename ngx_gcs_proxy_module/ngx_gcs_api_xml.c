
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_api.h"


static ngx_int_t ngx_gcs_api_xml_object(ngx_gcs_api_t *api);
static ngx_int_t ngx_gcs_api_xml_write(ngx_gcs_api_t *api);


ngx_int_t
ngx_gcs_api_xml(ngx_gcs_api_t *api)
{
    u_char     *p, *last, *start;
    ngx_int_t   rc;

    start = api->path.data + 1;
    last = api->path.data + api->path.len;

    p = ngx_strlchr(start, last, '/');
    if (p == NULL) {
        p = last;
    }

    if (p == start) {
        return ngx_gcs_api_refuse(api, 403, "api_not_supported",
                   "buckets are neither listed nor made through \"gcs_api\"");
    }

    rc = ngx_gcs_api_decode(api, start, p - start, 0, &api->object.bucket);
    if (rc != NGX_OK) {
        return rc;
    }

    if (p < last) {
        p++;
    }

    rc = ngx_gcs_api_decode(api, p, last - p, 0, &api->object.name);
    if (rc != NGX_OK) {
        return rc;
    }

    if (api->object.name.len) {
        return ngx_gcs_api_xml_object(api);
    }

    api->needs = NGX_GCS_API_READS;

    switch (api->method) {

    case NGX_GCS_API_M_GET:
        api->op = NGX_GCS_API_XML_LIST;
        return NGX_OK;

    case NGX_GCS_API_M_HEAD:
        api->op = NGX_GCS_API_XML_BUCKET;
        return NGX_OK;

    default:
        return ngx_gcs_api_unknown(api);
    }
}


static ngx_int_t
ngx_gcs_api_xml_object(ngx_gcs_api_t *api)
{
    switch (api->method) {

    case NGX_GCS_API_M_GET:
    case NGX_GCS_API_M_HEAD:

        if (ngx_gcs_api_param(api, "uploadId")) {
            api->op = NGX_GCS_API_XML_PARTS;
            api->needs = NGX_GCS_API_WRITES;

        } else {
            api->op = NGX_GCS_API_XML_GET;
            api->needs = NGX_GCS_API_READS;
            api->media = 1;
        }

        return NGX_OK;

    case NGX_GCS_API_M_DELETE:

        if (ngx_gcs_api_param(api, "upload_id")) {
            api->op = NGX_GCS_API_XML_SESSION;
            api->needs = NGX_GCS_API_WRITES;

        } else if (ngx_gcs_api_param(api, "uploadId")) {
            api->op = NGX_GCS_API_XML_ABORT;
            api->needs = NGX_GCS_API_WRITES;

        } else {
            api->op = NGX_GCS_API_XML_DELETE;
            api->needs = NGX_GCS_API_DELETES;
        }

        return NGX_OK;

    case NGX_GCS_API_M_PUT:
    case NGX_GCS_API_M_POST:
        return ngx_gcs_api_xml_write(api);

    default:
        return ngx_gcs_api_unknown(api);
    }
}


static ngx_int_t
ngx_gcs_api_xml_write(ngx_gcs_api_t *api)
{
    ngx_uint_t  post;

    post = (api->method == NGX_GCS_API_M_POST);

    api->needs = NGX_GCS_API_WRITES;
    api->body = NGX_GCS_API_STREAM;

    if (ngx_gcs_api_param(api, "upload_id")) {

        if (post) {
            return ngx_gcs_api_unknown(api);
        }

        api->op = NGX_GCS_API_XML_SESSION;

    } else if (ngx_gcs_api_param(api, "uploadId")) {
        api->op = post ? NGX_GCS_API_XML_COMPLETE : NGX_GCS_API_XML_PART;

    } else if (!post) {
        api->op = NGX_GCS_API_XML_PUT;

    } else if (ngx_gcs_api_param(api, "uploads")) {
        api->op = NGX_GCS_API_XML_INITIATE;

    } else if (api->resumable) {
        api->op = NGX_GCS_API_XML_START;
        api->starts = 1;

    } else {
        return ngx_gcs_api_unknown(api);
    }

    if (api->resumable && !api->starts) {
        return ngx_gcs_api_unknown(api);
    }

    return NGX_OK;
}


ngx_int_t
ngx_gcs_api_xml_copy(ngx_gcs_api_t *api)
{
    u_char     *p, *last, *start;
    ngx_int_t   rc;

    if (api->op != NGX_GCS_API_XML_PUT) {
        return ngx_gcs_api_unknown(api);
    }

    start = api->copy_source.data;
    last = start + api->copy_source.len;

    if (start < last && *start == '/') {
        start++;
    }

    p = ngx_strlchr(start, last, '/');

    if (p == NULL || p + 1 == last) {
        return ngx_gcs_api_refuse(api, 400, "invalid_copy_source",
                                  "a copy without a source");
    }

    rc = ngx_gcs_api_decode(api, start, p - start, 0, &api->source.bucket);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_gcs_api_decode(api, p + 1, last - p - 1, 0, &api->source.name);
    if (rc != NGX_OK) {
        return rc;
    }

    api->needs |= NGX_GCS_API_READS;

    return NGX_OK;
}
