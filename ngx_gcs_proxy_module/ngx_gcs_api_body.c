
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <jansson.h>

#include "ngx_gcs_api.h"


/*
 * Bodies that say what is written and where.  They are read as JSON, checked,
 * and written anew: so Google cannot read in them what was not read here.
 */


/* RFC 2046, 5.1.1 */
#define NGX_GCS_API_BOUNDARY_MAX  70


static ngx_int_t ngx_gcs_api_resource(ngx_gcs_api_t *api, json_t *resource);
static ngx_int_t ngx_gcs_api_compose(ngx_gcs_api_t *api, json_t *root);
static ngx_int_t ngx_gcs_api_sources(ngx_gcs_api_t *api, json_t *sources);
static ngx_int_t ngx_gcs_api_named(ngx_gcs_api_t *api, json_t *resource);
static ngx_int_t ngx_gcs_api_settled(ngx_gcs_api_t *api);
static ngx_uint_t ngx_gcs_api_listed(char **list, const char *name);
static ngx_int_t ngx_gcs_api_written(ngx_gcs_api_t *api, json_t *root,
    size_t room, ngx_str_t *made);
static ngx_int_t ngx_gcs_api_boundary(ngx_gcs_api_t *api,
    ngx_str_t *content_type, ngx_str_t *head, ngx_str_t *boundary);
static u_char *ngx_gcs_api_line(u_char *p, u_char *last);
static u_char *ngx_gcs_api_part(u_char *p, u_char *last);
static u_char *ngx_gcs_api_delimiter(u_char *p, u_char *last,
    ngx_str_t *boundary);
static ngx_int_t ngx_gcs_api_malformed(ngx_gcs_api_t *api, char *text);


/*
 * Members of an object's metadata: what is for its writer to say, and what
 * Google says, which clients send back.  Who may read it ("acl") and how long
 * nobody may delete it ("retention") is not among them.
 * (https://cloud.google.com/storage/docs/json_api/v1/objects)
 */

static char  *ngx_gcs_api_members[] = {
    "bucket",
    "cacheControl",
    "componentCount",
    "contentDisposition",
    "contentEncoding",
    "contentLanguage",
    "contentType",
    "contexts",
    "crc32c",
    "customTime",
    "customerEncryption",
    "etag",
    "eventBasedHold",
    "generation",
    "hardDeleteTime",
    "id",
    "kind",
    "kmsKeyName",
    "md5Hash",
    "mediaLink",
    "metadata",
    "metageneration",
    "name",
    "owner",
    "retentionExpirationTime",
    "selfLink",
    "size",
    "softDeleteTime",
    "storageClass",
    "temporaryHold",
    "timeCreated",
    "timeDeleted",
    "timeFinalized",
    "timeStorageClassUpdated",
    "updated",
    NULL
};


static char  *ngx_gcs_api_source_members[] = {
    "generation",
    "name",
    "objectPreconditions",
    NULL
};


ngx_int_t
ngx_gcs_api_metadata(ngx_gcs_api_t *api, ngx_str_t *body, ngx_str_t *made)
{
    json_t        *root;
    ngx_int_t      rc;
    json_error_t   error;

    ngx_str_null(made);

    if (body->len == 0) {

        if (api->op == NGX_GCS_API_COMPOSE) {
            return ngx_gcs_api_malformed(api, "a compose without sources");
        }

        return ngx_gcs_api_settled(api);
    }

    if (body->len > NGX_GCS_API_METADATA_MAX) {
        return ngx_gcs_api_refuse(api, 413, "metadata_too_large",
                                  "metadata of more than 64 KiB");
    }

    root = json_loadb((char *) body->data, body->len, JSON_REJECT_DUPLICATES,
                      &error);
    if (root == NULL) {
        return ngx_gcs_api_malformed(api, "the metadata is not valid JSON");
    }

    rc = (api->op == NGX_GCS_API_COMPOSE) ? ngx_gcs_api_compose(api, root)
                                          : ngx_gcs_api_resource(api, root);

    if (rc == NGX_OK) {
        rc = ngx_gcs_api_settled(api);
    }

    if (rc == NGX_OK) {
        rc = ngx_gcs_api_written(api, root, body->len, made);
    }

    json_decref(root);

    return rc;
}


static ngx_int_t
ngx_gcs_api_malformed(ngx_gcs_api_t *api, char *text)
{
    return ngx_gcs_api_refuse(api, 400, "invalid_metadata", text);
}


static ngx_int_t
ngx_gcs_api_resource(ngx_gcs_api_t *api, json_t *resource)
{
    json_t      *value, *acl;
    const char  *key;

    if (!json_is_object(resource)) {
        return ngx_gcs_api_malformed(api, "the metadata is not an object");
    }

    acl = json_object_get(resource, "acl");

    if (acl && !json_is_null(acl)) {
        return ngx_gcs_api_refuse(api, 403, "api_acl",
                   "who may read an object is not set through \"gcs_api\"");
    }

    if (acl && json_object_del(resource, "acl") != 0) {
        return NGX_ERROR;
    }

    json_object_foreach(resource, key, value) {

        if (!ngx_gcs_api_listed(ngx_gcs_api_members, key)) {
            return ngx_gcs_api_refuse(api, 403, "api_not_supported",
                       "a member of the metadata that \"gcs_api\" does not "
                       "let pass");
        }
    }

    return ngx_gcs_api_named(api, resource);
}


/*
 * The name in the query comes before that in the metadata of an upload; in all
 * else there can be but one.
 * (https://cloud.google.com/storage/docs/json_api/v1/objects/insert)
 */

static ngx_int_t
ngx_gcs_api_named(ngx_gcs_api_t *api, json_t *resource)
{
    json_t  *name, *bucket;
    size_t   len;
    u_char  *p;

    bucket = json_object_get(resource, "bucket");

    if (bucket && !json_is_null(bucket)
        && (!json_is_string(bucket)
            || json_string_length(bucket) != api->object.bucket.len
            || ngx_memcmp(json_string_value(bucket), api->object.bucket.data,
                          api->object.bucket.len)
               != 0))
    {
        return ngx_gcs_api_malformed(api,
                   "the metadata names another bucket than the address");
    }

    name = json_object_get(resource, "name");

    if (name == NULL || json_is_null(name)) {
        return NGX_OK;
    }

    if (!json_is_string(name)) {
        return ngx_gcs_api_malformed(api, "the name is not a string");
    }

    len = json_string_length(name);

    if (api->object.name.len == 0) {

        p = ngx_pnalloc(api->pool, len + 1);
        if (p == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(p, json_string_value(name), len);

        api->object.name.data = p;
        api->object.name.len = len;

        return NGX_OK;
    }

    if (len == api->object.name.len
        && ngx_memcmp(json_string_value(name), api->object.name.data, len)
           == 0)
    {
        return NGX_OK;
    }

    if (api->op != NGX_GCS_API_UPLOAD) {
        return ngx_gcs_api_malformed(api,
                   "the metadata names another object than the address");
    }

    return json_object_del(resource, "name") == 0 ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_gcs_api_compose(ngx_gcs_api_t *api, json_t *root)
{
    json_t      *value, *sources, *destination;
    ngx_int_t    rc;
    const char  *key;

    static char  *members[] = {
        "destination", "kind", "sourceObjects", NULL
    };

    if (!json_is_object(root)) {
        return ngx_gcs_api_malformed(api, "the metadata is not an object");
    }

    json_object_foreach(root, key, value) {

        if (!ngx_gcs_api_listed(members, key)) {
            return ngx_gcs_api_refuse(api, 403, "api_not_supported",
                       "a member of a compose that \"gcs_api\" does not let "
                       "pass");
        }
    }

    sources = json_object_get(root, "sourceObjects");

    if (!json_is_array(sources)) {
        return ngx_gcs_api_malformed(api, "a compose without sources");
    }

    destination = json_object_get(root, "destination");

    if (destination && !json_is_null(destination)) {
        rc = ngx_gcs_api_resource(api, destination);
        if (rc != NGX_OK) {
            return rc;
        }
    }

    return ngx_gcs_api_sources(api, sources);
}


/* each of them is read, from the same bucket */

static ngx_int_t
ngx_gcs_api_sources(ngx_gcs_api_t *api, json_t *sources)
{
    size_t             i;
    json_t            *source, *name, *value;
    ngx_int_t          rc;
    const char        *key;
    ngx_gcs_object_t   object;

    json_array_foreach(sources, i, source) {

        name = json_object_get(source, "name");

        if (!json_is_string(name) || json_string_length(name) == 0) {
            return ngx_gcs_api_malformed(api, "a source without a name");
        }

        json_object_foreach(source, key, value) {

            if (!ngx_gcs_api_listed(ngx_gcs_api_source_members, key)) {
                return ngx_gcs_api_refuse(api, 403, "api_not_supported",
                           "a member of a source that \"gcs_api\" does not "
                           "let pass");
            }
        }

        object.bucket = api->object.bucket;
        object.name.data = (u_char *) json_string_value(name);
        object.name.len = json_string_length(name);

        rc = ngx_gcs_api_object(api, &object);
        if (rc != NGX_OK) {
            return rc;
        }
    }

    return NGX_OK;
}


/* the name is known now, or there is none */

static ngx_int_t
ngx_gcs_api_settled(ngx_gcs_api_t *api)
{
    ngx_int_t  rc;

    if (api->object.name.len == 0) {
        return ngx_gcs_api_refuse(api, 400, "no_object_name",
                                  "an upload without a name");
    }

    rc = ngx_gcs_api_object(api, &api->object);
    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_gcs_api_target(api);
}


static ngx_uint_t
ngx_gcs_api_listed(char **list, const char *name)
{
    for ( /* void */ ; *list; list++) {

        if (ngx_strcmp(*list, name) == 0) {
            return 1;
        }
    }

    return 0;
}


/*
 * As long as what was read, so that it takes its place wherever that is: JSON
 * may end with spaces, and without any is no longer than it was, but for
 * numbers that no client writes.
 */

static ngx_int_t
ngx_gcs_api_written(ngx_gcs_api_t *api, json_t *root, size_t room,
    ngx_str_t *made)
{
    size_t  size;

    size = json_dumpb(root, NULL, 0, JSON_COMPACT);

    if (size == 0) {
        return NGX_ERROR;
    }

    if (size > room) {
        return ngx_gcs_api_malformed(api, "a number with an exponent");
    }

    made->data = ngx_pnalloc(api->pool, room);
    if (made->data == NULL) {
        return NGX_ERROR;
    }

    if (json_dumpb(root, (char *) made->data, size, JSON_COMPACT) != size) {
        return NGX_ERROR;
    }

    ngx_memset(made->data + size, ' ', room - size);
    made->len = room;

    return NGX_OK;
}


ngx_int_t
ngx_gcs_api_multipart(ngx_gcs_api_t *api, ngx_str_t *content_type,
    ngx_str_t *head, ngx_str_t *made, ngx_str_t *type)
{
    size_t      len, size;
    u_char     *p, *last, *json, *end;
    ngx_int_t   rc;
    ngx_str_t   boundary, body, metadata, eol;

    static ngx_str_t  crlf = ngx_string(CRLF);
    static ngx_str_t  lf = ngx_string("\n");

    rc = ngx_gcs_api_boundary(api, content_type, head, &boundary);
    if (rc != NGX_OK) {
        return rc;
    }

    /* the line of the boundary, headers, an empty line, JSON, a boundary */

    last = head->data + head->len;
    p = head->data + sizeof("--") - 1 + boundary.len;

    eol = (p < last && *p == CR) ? crlf : lf;

    p = ngx_gcs_api_line(p, last);
    json = p ? ngx_gcs_api_part(p, last) : NULL;

    if (json == NULL) {
        return ngx_gcs_api_malformed(api,
                   "the first part of a multipart body is not JSON");
    }

    end = ngx_gcs_api_delimiter(json, last, &boundary);

    if (end == NULL) {

        if (head->len >= NGX_GCS_API_HEAD_MAX) {
            return ngx_gcs_api_refuse(api, 413, "metadata_too_large",
                                      "metadata of more than 64 KiB");
        }

        return ngx_gcs_api_malformed(api,
                   "the metadata of a multipart body does not end");
    }

    body.data = json;
    body.len = (end > json) ? end - json : 0;

    p = end + sizeof("\n--") - 1 + boundary.len;
    p = ngx_gcs_api_line(p, last);

    if (p == NULL) {
        return ngx_gcs_api_malformed(api, "a multipart body of one part");
    }

    size = p - head->data;

    rc = ngx_gcs_api_metadata(api, &body, &metadata);
    if (rc != NGX_OK) {
        return rc;
    }

    made->data = ngx_pnalloc(api->pool, 2 * size + 128);
    type->data = ngx_pnalloc(api->pool, 64 + boundary.len);

    if (made->data == NULL || type->data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_sprintf(made->data, "--%V%VContent-Type: application/json%V%V%V",
                    &boundary, &eol, &eol, &eol, &metadata);

    /* the headers of the part were longer, or the spaces after it are many */

    len = size - (2 * eol.len + sizeof("--") - 1 + boundary.len);

    while ((size_t) (p - made->data) > len && p[-1] == ' ') {
        p--;
    }

    if ((size_t) (p - made->data) > len) {
        return ngx_gcs_api_malformed(api,
                   "a part of metadata without its \"Content-Type\"");
    }

    while ((size_t) (p - made->data) < len) {
        *p++ = ' ';
    }

    made->len = ngx_sprintf(p, "%V--%V%V", &eol, &boundary, &eol)
                - made->data;

    type->len = ngx_sprintf(type->data, "multipart/related; boundary=\"%V\"",
                            &boundary)
                - type->data;

    return NGX_OK;
}


/*
 * The boundary, which the body must begin with.  Clients made with apitools
 * put it between single quotes that are no part of it.
 */

static ngx_int_t
ngx_gcs_api_boundary(ngx_gcs_api_t *api, ngx_str_t *content_type,
    ngx_str_t *head, ngx_str_t *boundary)
{
    u_char      ch, *p, *last;
    size_t      i;
    ngx_uint_t  quoted;

    p = content_type->data;
    last = p + content_type->len;

    if (content_type->len < sizeof("multipart/related") - 1
        || ngx_strncasecmp(p, (u_char *) "multipart/related",
                           sizeof("multipart/related") - 1)
           != 0)
    {
        return ngx_gcs_api_malformed(api,
                   "the body is not of the type multipart/related");
    }

    p = ngx_gcs_api_find(p, last, "boundary=");

    if (p == NULL) {
        goto malformed;
    }

    p += sizeof("boundary=") - 1;
    quoted = (p < last && *p == '"');
    p += quoted;

    boundary->data = p;

    while (p < last && (quoted ? *p != '"' : *p != ';' && *p != ' ')) {
        p++;
    }

    boundary->len = p - boundary->data;

    if ((quoted && p == last)
        || ngx_gcs_api_find(p, last, "boundary"))
    {
        goto malformed;
    }

    if (boundary->len > 2 && boundary->data[0] == '\''
        && boundary->data[boundary->len - 1] == '\''
        && head->len > 2 && head->data[2] != '\'')
    {
        boundary->data++;
        boundary->len -= 2;
    }

    /* whether such a quote belongs to it is seen differently */

    if (boundary->len == 0 || boundary->len > NGX_GCS_API_BOUNDARY_MAX
        || boundary->data[0] == '\'')
    {
        goto malformed;
    }

    for (i = 0; i < boundary->len; i++) {
        ch = boundary->data[i];

        if (!((ch >= '0' && ch <= '9')
              || ((ch | 0x20) >= 'a' && (ch | 0x20) <= 'z')
              || (ch && ngx_strchr("'()+_,-./:=?", ch))))
        {
            goto malformed;
        }
    }

    if (head->len < 2 + boundary->len
        || head->data[0] != '-' || head->data[1] != '-'
        || ngx_memcmp(head->data + 2, boundary->data, boundary->len) != 0)
    {
        goto malformed;
    }

    return NGX_OK;

malformed:

    return ngx_gcs_api_malformed(api,
               "a multipart body that does not begin with its boundary");
}


/* what comes after the end of the line, if the line has ended at p */

static u_char *
ngx_gcs_api_line(u_char *p, u_char *last)
{
    while (p < last && (*p == ' ' || *p == '\t')) {
        p++;
    }

    if (p < last && *p == CR) {
        p++;
    }

    return (p < last && *p == LF) ? p + 1 : NULL;
}


/* what comes after the headers of the part, if it is JSON as it is */

static u_char *
ngx_gcs_api_part(u_char *p, u_char *last)
{
    u_char  *end, *colon;
    size_t   len;

    for ( ;; ) {

        end = ngx_strlchr(p, last, LF);

        if (end == NULL) {
            return NULL;
        }

        if (end == p || (end == p + 1 && *p == CR)) {
            return end + 1;
        }

        colon = ngx_strlchr(p, end, ':');

        if (colon == NULL) {
            return NULL;
        }

        len = colon - p;

        for (colon++; colon < end && *colon == ' '; colon++) {
            /* void */
        }

        if (len == sizeof("content-type") - 1
            && ngx_strncasecmp(p, (u_char *) "content-type", len) == 0)
        {
            if ((size_t) (end - colon) < sizeof("application/json") - 1
                || ngx_strncasecmp(colon, (u_char *) "application/json",
                                   sizeof("application/json") - 1)
                   != 0)
            {
                return NULL;
            }
        }

        if (len == sizeof("content-transfer-encoding") - 1
            && ngx_strncasecmp(p, (u_char *) "content-transfer-encoding", len)
               == 0)
        {
            if (*colon != '7' && *colon != '8'
                && ngx_strncasecmp(colon, (u_char *) "binary",
                                   ngx_min(end - colon, 6))
                   != 0)
            {
                return NULL;
            }
        }

        p = end + 1;
    }
}


/* the next line that begins with the boundary: where the line before ends */

static u_char *
ngx_gcs_api_delimiter(u_char *p, u_char *last, ngx_str_t *boundary)
{
    /* there may be no JSON at all */

    for (p--; (p = ngx_strlchr(p, last, LF)); p++) {

        if ((size_t) (last - p) >= sizeof("\n--") - 1 + boundary->len
            && p[1] == '-' && p[2] == '-'
            && ngx_memcmp(p + 3, boundary->data, boundary->len) == 0)
        {
            return p;
        }
    }

    return NULL;
}
