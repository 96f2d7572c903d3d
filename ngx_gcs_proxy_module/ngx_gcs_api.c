
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_api.h"


/* "/b/B/o/NAME/rewriteTo/b/B/o/NAME" */
#define NGX_GCS_API_SEGMENTS  9


#define ngx_gcs_api_is(value, text)                                           \
    ((value)->len == sizeof(text) - 1                                         \
     && ngx_memcmp((value)->data, text, sizeof(text) - 1) == 0)


static ngx_int_t ngx_gcs_api_json(ngx_gcs_api_t *api, ngx_str_t *rest);
static ngx_int_t ngx_gcs_api_json_bucket(ngx_gcs_api_t *api, ngx_str_t *what);
static ngx_int_t ngx_gcs_api_json_object(ngx_gcs_api_t *api);
static ngx_int_t ngx_gcs_api_json_upload(ngx_gcs_api_t *api);
static ngx_int_t ngx_gcs_api_json_copy(ngx_gcs_api_t *api, ngx_str_t *segment);
static ngx_int_t ngx_gcs_api_json_move(ngx_gcs_api_t *api, ngx_str_t *segment);
static ngx_int_t ngx_gcs_api_xml(ngx_gcs_api_t *api);
static ngx_int_t ngx_gcs_api_xml_object(ngx_gcs_api_t *api);
static ngx_int_t ngx_gcs_api_xml_write(ngx_gcs_api_t *api);
static ngx_int_t ngx_gcs_api_xml_copy(ngx_gcs_api_t *api);
static ngx_int_t ngx_gcs_api_check(ngx_gcs_api_t *api);
static ngx_int_t ngx_gcs_api_check_list(ngx_gcs_api_t *api);
static ngx_int_t ngx_gcs_api_unknown(ngx_gcs_api_t *api);


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


static ngx_int_t
ngx_gcs_api_unknown(ngx_gcs_api_t *api)
{
    return ngx_gcs_api_refuse(api, 403, "api_not_supported",
                              "this is not among what \"gcs_api\" lets pass");
}


/* rest is "b/BUCKET..."; a slash in a name is escaped, so it parts nothing */

static ngx_int_t
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

        if (api->downloads && alt && !api->media) {
            return ngx_gcs_api_unknown(api);
        }

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
    ngx_str_t  *type, *name;

    static ngx_str_t  none = ngx_null_string;

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


static ngx_int_t
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


/* "X-Goog-Copy-Source: [/]BUCKET/NAME", escaped as in a path */

static ngx_int_t
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

    if (api->source.bucket.len) {

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
    dots = ngx_gcs_object_dot_segment(&object->name);

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
