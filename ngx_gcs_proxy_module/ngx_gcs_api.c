
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_api.h"


static ngx_int_t ngx_gcs_api_check(ngx_gcs_api_t *api);
static ngx_int_t ngx_gcs_api_check_list(ngx_gcs_api_t *api);


typedef struct {
    ngx_str_t    path;
    ngx_uint_t   uploads;
    ngx_uint_t   downloads;
} ngx_gcs_api_service_t;


/*
 * Where the JSON API is, the longest first.  Clients that are given a host of
 * their own drop "/storage/v1", or the version of the upload service.
 */

static ngx_gcs_api_service_t  ngx_gcs_api_services[] = {
    { ngx_string("/resumable/upload/storage/v1"), 1, 0 },
    { ngx_string("/download/storage/v1"), 0, 1 },
    { ngx_string("/upload/storage/v1"), 1, 0 },
    { ngx_string("/storage/v1"), 0, 0 },
    { ngx_string("/download"), 0, 1 },
    { ngx_string("/upload"), 1, 0 },
    { ngx_string(""), 0, 0 },
    { ngx_null_string, 0, 0 }
};


/* Google takes these for something else than a bucket, and so do we */

static ngx_str_t  ngx_gcs_api_reserved[] = {
    ngx_string("b"),
    ngx_string("batch"),
    ngx_string("discovery"),
    ngx_string("download"),
    ngx_string("gupload"),
    ngx_string("projects"),
    ngx_string("resumable"),
    ngx_string("storage"),
    ngx_string("upload"),
    ngx_null_string
};


ngx_int_t
ngx_gcs_api_parse(ngx_gcs_api_t *api)
{
    size_t                  len;
    ngx_int_t               rc;
    ngx_str_t               rest;
    ngx_gcs_api_service_t  *service;

    api->xml = 1;

    if (api->path.len == 0 || api->path.data[0] != '/') {
        return ngx_gcs_api_unknown(api);
    }

    api->xml = ngx_gcs_api_is_xml(&api->path);

    rc = ngx_gcs_api_query(api);
    if (rc != NGX_OK) {
        return rc;
    }

    if (api->xml) {
        rc = ngx_gcs_api_xml(api);

    } else {
        rc = ngx_gcs_api_unknown(api);

        for (service = ngx_gcs_api_services; service->path.data; service++) {

            len = service->path.len;

            if (api->path.len >= len + 2
                && ngx_memcmp(api->path.data, service->path.data, len) == 0
                && api->path.data[len] == '/'
                && api->path.data[len + 1] == 'b'
                && (api->path.len == len + 2
                    || api->path.data[len + 2] == '/'))
            {
                rest.data = api->path.data + len + 1;
                rest.len = api->path.len - len - 1;

                api->uploads = service->uploads;
                api->downloads = service->downloads;

                rc = ngx_gcs_api_json(api, &rest);
                break;
            }
        }
    }

    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_gcs_api_query_check(api);
    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_gcs_api_check(api);
}


ngx_uint_t
ngx_gcs_api_is_xml(ngx_str_t *path)
{
    size_t      len;
    u_char     *p, *last;
    ngx_str_t  *name;

    if (path->len == 0) {
        return 1;
    }

    last = path->data + path->len;

    p = ngx_strlchr(path->data + 1, last, '/');
    len = (p ? p : last) - (path->data + 1);

    for (name = ngx_gcs_api_reserved; name->len; name++) {

        if (name->len == len
            && ngx_memcmp(name->data, path->data + 1, len) == 0)
        {
            return 0;
        }
    }

    return 1;
}


ngx_int_t
ngx_gcs_api_refuse(ngx_gcs_api_t *api, ngx_uint_t status, char *error,
    char *text)
{
    api->refusal.status = status;
    api->refusal.error = error;
    api->refusal.text = text;

    return NGX_DECLINED;
}


ngx_int_t
ngx_gcs_api_unknown(ngx_gcs_api_t *api)
{
    return ngx_gcs_api_refuse(api, 403, "api_not_supported",
                              "this is not among what \"gcs_api\" lets pass");
}


/* names, and what "gcs_buckets" says of them */

static ngx_int_t
ngx_gcs_api_check(ngx_gcs_api_t *api)
{
    ngx_int_t  rc;

    if (api->copy_source.len) {
        rc = ngx_gcs_api_xml_copy(api);
        if (rc != NGX_OK) {
            return rc;
        }
    }

    if (!ngx_gcs_api_bucket_allowed(api, &api->object.bucket)) {
        goto denied;
    }

    if (api->op & (NGX_GCS_API_LIST|NGX_GCS_API_XML_LIST)) {
        rc = ngx_gcs_api_check_list(api);

    } else if (api->object.name.len) {
        rc = ngx_gcs_api_object(api, &api->object);

    } else if (api->op & NGX_GCS_API_SESSION) {

        /* whoever began it was told its name, unless the bucket is free */

        if (!ngx_gcs_api_name_allowed(api, &api->object)) {
            goto denied;
        }

        rc = NGX_OK;

    } else {
        rc = NGX_OK;
    }

    if (rc != NGX_OK) {
        return rc;
    }

    if (api->copy_source.len
        || (api->op & (NGX_GCS_API_COPY|NGX_GCS_API_MOVE)))
    {
        /* a source without a bucket is none of those that are named */

        if (!ngx_gcs_api_bucket_allowed(api, &api->source.bucket)) {
            goto denied;
        }

        rc = ngx_gcs_api_object(api, &api->source);
        if (rc != NGX_OK) {
            return rc;
        }
    }

    if (api->op == NGX_GCS_API_UPLOAD && api->object.name.len == 0) {

        /* it is in the body */

        return NGX_OK;
    }

    return ngx_gcs_api_target(api);

denied:

    return ngx_gcs_api_refuse(api, 403, "bucket_not_allowed",
                              "not allowed by \"gcs_buckets\"");
}


/* a prefix that leads out of the folder would list what is beside it */

static ngx_int_t
ngx_gcs_api_check_list(ngx_gcs_api_t *api)
{
    char              *reason;
    ngx_str_t         *prefix;
    ngx_gcs_object_t   object;

    object.bucket = api->object.bucket;
    ngx_str_null(&object.name);

    prefix = ngx_gcs_api_param(api, "prefix");

    if (prefix) {
        object.name = *prefix;

        reason = ngx_gcs_object_check(prefix);

        if (reason && !ngx_gcs_object_dot_segment(prefix)) {
            return ngx_gcs_api_refuse(api, 400, "invalid_object_name",
                                      reason);
        }
    }

    if (!ngx_gcs_api_name_allowed(api, &object)) {
        return ngx_gcs_api_refuse(api, 403, "bucket_not_allowed",
                   "a list outside of the folder that \"gcs_buckets\" names: "
                   "it needs a \"prefix\" inside of it");
    }

    return NGX_OK;
}


ngx_int_t
ngx_gcs_api_object(ngx_gcs_api_t *api, ngx_gcs_object_t *object)
{
    char  *reason;

    reason = ngx_gcs_object_check(&object->name);

    if (reason) {
        return ngx_gcs_api_refuse(api, 400, "invalid_object_name", reason);
    }

    if (!ngx_gcs_api_name_allowed(api, object)) {
        return ngx_gcs_api_refuse(api, 403, "bucket_not_allowed",
                                  "not allowed by \"gcs_buckets\"");
    }

    if (object->name.len && ngx_gcs_object_dot_segment(&object->name)) {

        /* whoever stands between would have it lead elsewhere */

        return ngx_gcs_api_refuse(api, 400, "invalid_object_name",
                                  "\".\" or \"..\" segment in the name");
    }

    return NGX_OK;
}


ngx_uint_t
ngx_gcs_api_bucket_allowed(ngx_gcs_api_t *api, ngx_str_t *bucket)
{
    ngx_uint_t         i;
    ngx_gcs_object_t  *allowed;

    if (ngx_gcs_bucket_check(bucket) != NGX_OK) {
        return 0;
    }

    allowed = api->buckets->elts;

    for (i = 0; i < api->buckets->nelts; i++) {

        if (allowed[i].bucket.len == bucket->len
            && ngx_memcmp(allowed[i].bucket.data, bucket->data, bucket->len)
               == 0)
        {
            return 1;
        }
    }

    return 0;
}


ngx_uint_t
ngx_gcs_api_name_allowed(ngx_gcs_api_t *api, ngx_gcs_object_t *object)
{
    ngx_uint_t         i, dots;
    ngx_gcs_object_t  *allowed;

    allowed = api->buckets->elts;
    dots = object->name.len && ngx_gcs_object_dot_segment(&object->name);

    for (i = 0; i < api->buckets->nelts; i++) {

        if (allowed[i].bucket.len == object->bucket.len
            && ngx_memcmp(allowed[i].bucket.data, object->bucket.data,
                          object->bucket.len)
               == 0
            && (allowed[i].name.len == 0
                || (!dots
                    && allowed[i].name.len <= object->name.len
                    && ngx_memcmp(allowed[i].name.data, object->name.data,
                                  allowed[i].name.len)
                       == 0)))
        {
            return 1;
        }
    }

    return 0;
}
