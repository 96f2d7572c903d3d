
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_api.h"
#include "ngx_gcs_escape.h"


/* what is sent: addresses and errors, made of what is known */


#define NGX_GCS_API_UPLOAD_ID  "upload_id="


static ngx_int_t ngx_gcs_api_target_copied(ngx_gcs_api_t *api);
static u_char *ngx_gcs_api_target_path(ngx_gcs_api_t *api, u_char *p);
static u_char *ngx_gcs_api_target_object(u_char *p, ngx_gcs_object_t *object);
static u_char *ngx_gcs_api_target_query(ngx_gcs_api_t *api, u_char *p);
static u_char *ngx_gcs_api_quote(u_char *p, ngx_str_t *text, ngx_uint_t xml);
static char *ngx_gcs_api_reason(ngx_uint_t status);
static char *ngx_gcs_api_code(ngx_uint_t status);


ngx_int_t
ngx_gcs_api_target(ngx_gcs_api_t *api)
{
    size_t                len;
    u_char               *p;
    ngx_uint_t            i;
    ngx_gcs_api_param_t  *param;

    if (api->copy_source.len && ngx_gcs_api_target_copied(api) != NGX_OK) {
        return NGX_ERROR;
    }

    /* every byte escaped would be three */

    len = sizeof("/download/storage/v1/b//o//rewriteTo/b//o/") - 1
          + sizeof("?alt=media&name=") - 1
          + api->object.bucket.len + api->source.bucket.len
          + 3 * (2 * api->object.name.len + api->source.name.len);

    param = api->params.elts;

    for (i = 0; i < api->params.nelts; i++) {
        len += sizeof("&=") - 1 + param[i].name.len + 3 * param[i].value.len;
    }

    p = ngx_pnalloc(api->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    api->target.data = p;

    p = ngx_gcs_api_target_path(api, p);
    p = ngx_gcs_api_target_query(api, p);

    api->target.len = p - api->target.data;

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_api_target_copied(ngx_gcs_api_t *api)
{
    u_char  *p;

    p = ngx_pnalloc(api->pool, sizeof("//") - 1 + api->source.bucket.len
                               + 3 * api->source.name.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    api->copied.data = p;

    *p++ = '/';
    p = ngx_cpymem(p, api->source.bucket.data, api->source.bucket.len);
    *p++ = '/';
    p = ngx_gcs_escape_path(p, api->source.name.data, api->source.name.len);

    api->copied.len = p - api->copied.data;

    return NGX_OK;
}


static u_char *
ngx_gcs_api_target_path(ngx_gcs_api_t *api, u_char *p)
{
    ngx_gcs_object_t  bucket;

    if (api->op & NGX_GCS_API_XML_ALL) {
        *p++ = '/';
        p = ngx_cpymem(p, api->object.bucket.data, api->object.bucket.len);

        if (api->object.name.len) {
            *p++ = '/';
            p = ngx_gcs_escape_path(p, api->object.name.data,
                                    api->object.name.len);
        }

        return p;
    }

    if (api->uploads) {
        p = ngx_cpymem(p, "/upload", sizeof("/upload") - 1);

    } else if (api->downloads) {
        p = ngx_cpymem(p, "/download", sizeof("/download") - 1);
    }

    p = ngx_cpymem(p, "/storage/v1", sizeof("/storage/v1") - 1);

    bucket.bucket = api->object.bucket;
    ngx_str_null(&bucket.name);

    switch (api->op) {

    case NGX_GCS_API_BUCKET:
    case NGX_GCS_API_LAYOUT:
    case NGX_GCS_API_PERMISSIONS:

        p = ngx_cpymem(p, "/b/", sizeof("/b/") - 1);
        p = ngx_cpymem(p, bucket.bucket.data, bucket.bucket.len);

        if (api->op == NGX_GCS_API_LAYOUT) {
            p = ngx_cpymem(p, "/storageLayout", sizeof("/storageLayout") - 1);

        } else if (api->op == NGX_GCS_API_PERMISSIONS) {
            p = ngx_cpymem(p, "/iam/testPermissions",
                           sizeof("/iam/testPermissions") - 1);
        }

        return p;

    case NGX_GCS_API_LIST:
    case NGX_GCS_API_UPLOAD:
    case NGX_GCS_API_SESSION:
        return ngx_gcs_api_target_object(p, &bucket);

    case NGX_GCS_API_COPY:

        p = ngx_gcs_api_target_object(p, &api->source);
        p = api->older ? ngx_cpymem(p, "/copyTo", sizeof("/copyTo") - 1)
                       : ngx_cpymem(p, "/rewriteTo", sizeof("/rewriteTo") - 1);

        return ngx_gcs_api_target_object(p, &api->object);

    case NGX_GCS_API_COMPOSE:
        p = ngx_gcs_api_target_object(p, &api->object);
        return ngx_cpymem(p, "/compose", sizeof("/compose") - 1);

    case NGX_GCS_API_MOVE:

        p = ngx_gcs_api_target_object(p, &api->source);
        p = ngx_cpymem(p, "/moveTo/o/", sizeof("/moveTo/o/") - 1);

        return ngx_gcs_escape_query(p, api->object.name.data,
                                    api->object.name.len);

    default: /* GET, DELETE, UPDATE */
        return ngx_gcs_api_target_object(p, &api->object);
    }
}


static u_char *
ngx_gcs_api_target_object(u_char *p, ngx_gcs_object_t *object)
{
    p = ngx_cpymem(p, "/b/", sizeof("/b/") - 1);
    p = ngx_cpymem(p, object->bucket.data, object->bucket.len);
    p = ngx_cpymem(p, "/o", sizeof("/o") - 1);

    if (object->name.len) {
        *p++ = '/';
        p = ngx_gcs_escape_query(p, object->name.data, object->name.len);
    }

    return p;
}


/* the name of what is uploaded comes before that in the body */

static u_char *
ngx_gcs_api_target_query(ngx_gcs_api_t *api, u_char *p)
{
    u_char                mark;
    ngx_uint_t            i;
    ngx_gcs_api_param_t  *param;

    mark = '?';
    param = api->params.elts;

    for (i = 0; i < api->params.nelts; i++) {

        if (param[i].dropped) {
            continue;
        }

        *p++ = mark;
        mark = '&';

        p = ngx_cpymem(p, param[i].name.data, param[i].name.len);

        if (param[i].assigned) {
            *p++ = '=';
            p = ngx_gcs_escape_query(p, param[i].value.data,
                                     param[i].value.len);
        }
    }

    if (api->downloads) {
        *p++ = mark;
        mark = '&';
        p = ngx_cpymem(p, "alt=media", sizeof("alt=media") - 1);
    }

    if (api->op == NGX_GCS_API_UPLOAD) {
        *p++ = mark;
        p = ngx_cpymem(p, "name=", sizeof("name=") - 1);
        p = ngx_gcs_escape_query(p, api->object.name.data,
                                 api->object.name.len);
    }

    return p;
}


ngx_int_t
ngx_gcs_api_location(ngx_gcs_api_t *api, ngx_str_t *origin,
    ngx_str_t *location, ngx_str_t *made)
{
    u_char  *p, *last, *path, *query;

    p = location->data;
    last = p + location->len;

    if (location->len > sizeof("https://") - 1
        && ngx_strncasecmp(p, (u_char *) "https://", sizeof("https://") - 1)
           == 0)
    {
        p += sizeof("https://") - 1;

    } else if (location->len > sizeof("http://") - 1
               && ngx_strncasecmp(p, (u_char *) "http://",
                                  sizeof("http://") - 1)
                  == 0)
    {
        p += sizeof("http://") - 1;

    } else {
        return NGX_DECLINED;
    }

    path = ngx_strlchr(p, last, '/');

    if (path == NULL) {
        return NGX_DECLINED;
    }

    path++;
    query = ngx_strlchr(path, last, '?');

    made->data = ngx_pnalloc(api->pool, origin->len + (last - path)
                                        + sizeof("?name=") - 1
                                        + 3 * api->object.name.len);
    if (made->data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(made->data, origin->data, origin->len);
    p = ngx_cpymem(p, path, last - path);

    if (!(api->op & NGX_GCS_API_XML_ALL)
        && (query == NULL
            || (ngx_gcs_api_find(query, last, "?name=") == NULL
                && ngx_gcs_api_find(query, last, "&name=") == NULL)))
    {
        *p++ = query ? '&' : '?';
        p = ngx_cpymem(p, "name=", sizeof("name=") - 1);
        p = ngx_gcs_escape_query(p, api->object.name.data,
                                 api->object.name.len);
    }

    made->len = p - made->data;

    return NGX_OK;
}


ngx_int_t
ngx_gcs_api_mask(ngx_pool_t *pool, ngx_str_t *line)
{
    u_char  *p, *q, *last, *data, *found;

    last = line->data + line->len;
    found = ngx_gcs_api_find(line->data, last, NGX_GCS_API_UPLOAD_ID);

    if (found == NULL) {
        return NGX_OK;
    }

    data = ngx_pnalloc(pool, line->len + 1);
    if (data == NULL) {
        return NGX_ERROR;
    }

    q = data;
    p = line->data;

    while (found) {
        found += sizeof(NGX_GCS_API_UPLOAD_ID) - 1;
        q = ngx_cpymem(q, p, found - p);
        p = found;

        if (p < last && *p != '&' && *p != ' ') {
            *q++ = '-';
        }

        while (p < last && *p != '&' && *p != ' ') {
            p++;
        }

        found = ngx_gcs_api_find(p, last, NGX_GCS_API_UPLOAD_ID);
    }

    q = ngx_cpymem(q, p, last - p);

    line->data = data;
    line->len = q - data;

    return NGX_OK;
}


u_char *
ngx_gcs_api_find(u_char *p, u_char *last, char *text)
{
    size_t  len;

    len = ngx_strlen(text);

    for ( /* void */ ; (size_t) (last - p) >= len; p++) {

        if (ngx_strncasecmp(p, (u_char *) text, len) == 0) {
            return p;
        }
    }

    return NULL;
}


/*
 * What clients show is the message, what they decide by is the status and the
 * reason.  (https://cloud.google.com/storage/docs/json_api/v1/status-codes,
 * https://cloud.google.com/storage/docs/xml-api/reference-status)
 */

ngx_int_t
ngx_gcs_api_error(ngx_pool_t *pool, ngx_uint_t xml, ngx_uint_t status,
    ngx_str_t *text, ngx_str_t *body)
{
    u_char  *p;

    p = ngx_pnalloc(pool, 512 + 2 * 6 * text->len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    body->data = p;

    if (xml) {
        p = ngx_sprintf(p, "<?xml version='1.0' encoding='UTF-8'?><Error>"
                        "<Code>%s</Code><Message>nginx: ",
                        ngx_gcs_api_code(status));
        p = ngx_gcs_api_quote(p, text, 1);
        p = ngx_sprintf(p, "</Message></Error>");

    } else {
        p = ngx_sprintf(p, "{\"error\":{\"code\":%ui,\"message\":\"nginx: ",
                        status);
        p = ngx_gcs_api_quote(p, text, 0);
        p = ngx_sprintf(p, "\",\"errors\":[{\"message\":\"nginx: ");
        p = ngx_gcs_api_quote(p, text, 0);
        p = ngx_sprintf(p, "\",\"domain\":\"global\",\"reason\":\"%s\"}]}}\n",
                        ngx_gcs_api_reason(status));
    }

    body->len = p - body->data;

    return NGX_OK;
}


static u_char *
ngx_gcs_api_quote(u_char *p, ngx_str_t *text, ngx_uint_t xml)
{
    u_char  ch;
    size_t  i;

    for (i = 0; i < text->len; i++) {
        ch = text->data[i];

        if (ch < 0x20 || ch >= 0x7f) {
            *p++ = '?';

        } else if (xml && (ch == '<' || ch == '>' || ch == '&')) {
            p = ngx_sprintf(p, "&#%ui;", (ngx_uint_t) ch);

        } else if (!xml && (ch == '"' || ch == '\\')) {
            *p++ = '\\';
            *p++ = ch;

        } else {
            *p++ = ch;
        }
    }

    return p;
}


static char *
ngx_gcs_api_reason(ngx_uint_t status)
{
    switch (status) {

    case 401:
        return "required";

    case 403:
        return "forbidden";

    case 404:
        return "notFound";

    case 413:
        return "uploadTooLarge";

    case 429:
        return "rateLimitExceeded";

    default:
        return (status < 500) ? "invalid" : "backendError";
    }
}


static char *
ngx_gcs_api_code(ngx_uint_t status)
{
    switch (status) {

    case 401:
        return "AuthenticationRequired";

    case 403:
        return "AccessDenied";

    case 404:
        return "NoSuchKey";

    case 413:
        return "EntityTooLarge";

    case 429:
        return "SlowDown";

    case 503:
        return "ServiceUnavailable";

    default:
        return (status < 500) ? "InvalidArgument" : "InternalError";
    }
}
