
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <jansson.h>

#include "ngx_gcs_check.h"
#include "ngx_gcs_unescape.h"


static ngx_int_t ngx_gcs_check_refusal_json(ngx_pool_t *pool, json_t *json,
    ngx_gcs_check_refusal_t *refusal);
static ngx_int_t ngx_gcs_check_copy(ngx_pool_t *pool, const char *text,
    ngx_str_t *value);
static ngx_uint_t ngx_gcs_check_element(u_char **pos, u_char *last,
    char *name, ngx_str_t *value);
static ngx_int_t ngx_gcs_check_list_json(ngx_pool_t *pool, json_t *json,
    ngx_gcs_check_list_t *list);
static ngx_int_t ngx_gcs_check_list_xml(ngx_pool_t *pool, ngx_str_t *body,
    ngx_gcs_check_list_t *list);
static ngx_int_t ngx_gcs_check_list_add(ngx_pool_t *pool, ngx_str_t *name,
    off_t size, ngx_gcs_check_list_t *list);


ngx_int_t
ngx_gcs_check_refusal(ngx_pool_t *pool, ngx_uint_t status, ngx_str_t *body,
    ngx_gcs_check_refusal_t *refusal)
{
    u_char     *p, *last;
    json_t     *json;
    ngx_int_t   rc;
    ngx_str_t   value;

    ngx_memzero(refusal, sizeof(ngx_gcs_check_refusal_t));

    refusal->status = status;

    if (body->len == 0) {
        return NGX_OK;
    }

    json = json_loadb((char *) body->data, body->len, 0, NULL);

    if (json) {
        rc = ngx_gcs_check_refusal_json(pool, json, refusal);
        json_decref(json);
        return rc;
    }

    p = body->data;
    last = p + body->len;

    if (!ngx_gcs_check_element(&p, last, "Code", &value)) {

        /* a page of HTML says nothing; media of the JSON API speak plainly */

        if (body->data[0] == '<') {
            return NGX_OK;
        }

        refusal->text = ngx_gcs_check_clean(pool, body,
                                            NGX_GCS_CHECK_ERROR_MAX);

        return refusal->text.data ? NGX_OK : NGX_ERROR;
    }

    refusal->code = ngx_gcs_check_clean(pool, &value, 64);

    /* the order of the others varies */

    p = body->data;

    if (!ngx_gcs_check_element(&p, last, "Details", &value)) {
        p = body->data;

        if (!ngx_gcs_check_element(&p, last, "Message", &value)) {
            ngx_str_null(&value);
        }
    }

    refusal->text = ngx_gcs_check_clean(pool, &value,
                                        NGX_GCS_CHECK_ERROR_MAX);

    return (refusal->code.data && refusal->text.data) ? NGX_OK : NGX_ERROR;
}


/*
 * {"error":{"code":N,"message":"X","errors":[{"reason":"X"}],"details":[...]}}
 */

static ngx_int_t
ngx_gcs_check_refusal_json(ngx_pool_t *pool, json_t *json,
    ngx_gcs_check_refusal_t *refusal)
{
    json_t      *error;
    const char  *code, *text;

    error = json_object_get(json, "error");

    code = json_string_value(json_object_get(json_array_get(
               json_object_get(error, "details"), 0), "reason"));

    if (code == NULL) {
        code = json_string_value(json_object_get(json_array_get(
                   json_object_get(error, "errors"), 0), "reason"));
    }

    if (code == NULL) {
        code = json_string_value(json_object_get(error, "status"));
    }

    text = json_string_value(json_object_get(error, "message"));

    if (ngx_gcs_check_copy(pool, code, &refusal->code) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_gcs_check_copy(pool, text, &refusal->text);
}


static ngx_int_t
ngx_gcs_check_copy(ngx_pool_t *pool, const char *text, ngx_str_t *value)
{
    ngx_str_t  raw;

    if (text == NULL) {
        return NGX_OK;
    }

    raw.data = (u_char *) text;
    raw.len = ngx_strlen(text);

    *value = ngx_gcs_check_clean(pool, &raw, NGX_GCS_CHECK_ERROR_MAX);

    return value->data ? NGX_OK : NGX_ERROR;
}


/*
 * The text of the next element of that name, which has no children and no
 * attributes; *pos is behind it then.
 */

static ngx_uint_t
ngx_gcs_check_element(u_char **pos, u_char *last, char *name,
    ngx_str_t *value)
{
    u_char  *p, *q, *end;
    u_char   open[32], close[32];
    size_t   nopen, nclose;

    nopen = ngx_snprintf(open, sizeof(open), "<%s>", name) - open;
    nclose = ngx_snprintf(close, sizeof(close), "</%s>", name) - close;

    end = last;

    p = ngx_strlcasestrn(*pos, end, open, nopen - 1);
    if (p == NULL) {
        return 0;
    }

    p += nopen;

    q = ngx_strlcasestrn(p, end, close, nclose - 1);
    if (q == NULL) {
        return 0;
    }

    value->data = p;
    value->len = q - p;

    *pos = q + nclose;

    return 1;
}


ngx_int_t
ngx_gcs_check_list(ngx_pool_t *pool, ngx_str_t *body, ngx_uint_t xml,
    ngx_gcs_check_list_t *list)
{
    json_t     *json;
    ngx_int_t   rc;

    ngx_memzero(list, sizeof(ngx_gcs_check_list_t));

    list->size = -1;

    if (xml) {
        return ngx_gcs_check_list_xml(pool, body, list);
    }

    json = body->len ? json_loadb((char *) body->data, body->len, 0, NULL)
                     : NULL;

    rc = json_is_object(json) ? ngx_gcs_check_list_json(pool, json, list)
                              : NGX_DECLINED;
    json_decref(json);

    return rc;
}


/* names are what they are, but a NUL in one cannot be, and is not looked at */

static ngx_int_t
ngx_gcs_check_list_json(ngx_pool_t *pool, json_t *json,
    ngx_gcs_check_list_t *list)
{
    off_t        size;
    size_t       i;
    json_t      *items, *item, *value;
    ngx_str_t    name, text;
    const char  *p;

    items = json_object_get(json, "items");

    for (i = 0; i < json_array_size(items); i++) {
        item = json_array_get(items, i);
        value = json_object_get(item, "name");

        name.data = (u_char *) json_string_value(value);
        name.len = json_string_length(value);

        p = json_string_value(json_object_get(item, "size"));

        if (name.data == NULL) {
            return NGX_DECLINED;
        }

        size = p ? ngx_atoof((u_char *) p, ngx_strlen(p)) : -1;

        if (ngx_gcs_check_list_add(pool, &name, size, list) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    value = json_object_get(json, "nextPageToken");

    text.data = (u_char *) json_string_value(value);
    text.len = json_string_length(value);

    if (text.data && text.len) {
        list->next.data = ngx_pstrdup(pool, &text);
        if (list->next.data == NULL) {
            return NGX_ERROR;
        }

        list->next.len = text.len;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_check_list_xml(ngx_pool_t *pool, ngx_str_t *body,
    ngx_gcs_check_list_t *list)
{
    u_char     *p, *q, *last;
    off_t       size;
    ngx_str_t   contents, name, text;

    p = body->data;
    last = p + body->len;

    if (body->len == 0
        || ngx_strlcasestrn(p, last, (u_char *) "<ListBucketResult",
                            sizeof("<ListBucketResult") - 2)
           == NULL)
    {
        return NGX_DECLINED;
    }

    while (ngx_gcs_check_element(&p, last, "Contents", &contents)) {

        q = contents.data;

        if (!ngx_gcs_check_element(&q, contents.data + contents.len, "Key",
                                   &text))
        {
            return NGX_DECLINED;
        }

        name.data = ngx_pnalloc(pool, text.len);
        if (name.data == NULL) {
            return NGX_ERROR;
        }

        name.len = ngx_gcs_unescape(name.data, text.data, text.len, 0)
                   - name.data;

        q = contents.data;
        size = -1;

        if (ngx_gcs_check_element(&q, contents.data + contents.len, "Size",
                                  &text))
        {
            size = ngx_atoof(text.data, text.len);
        }

        if (ngx_gcs_check_list_add(pool, &name, size, list) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    p = body->data;

    if (ngx_gcs_check_element(&p, last, "NextContinuationToken", &text)) {

        list->next.data = ngx_pstrdup(pool, &text);
        if (list->next.data == NULL) {
            return NGX_ERROR;
        }

        list->next.len = text.len;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_check_list_add(ngx_pool_t *pool, ngx_str_t *name, off_t size,
    ngx_gcs_check_list_t *list)
{
    list->count++;

    if (name->len == 0
        || name->data[name->len - 1] == '/'
        || (list->name.len && (list->size > 0 || size <= 0)))
    {
        return NGX_OK;
    }

    list->name.data = ngx_pstrdup(pool, name);
    if (list->name.data == NULL) {
        return NGX_ERROR;
    }

    list->name.len = name->len;
    list->size = size;

    return NGX_OK;
}


ngx_uint_t
ngx_gcs_check_named(ngx_str_t *body, ngx_str_t *name)
{
    json_t      *json, *value;
    ngx_uint_t   named;

    json = body->len ? json_loadb((char *) body->data, body->len, 0, NULL)
                     : NULL;

    value = json_object_get(json, "name");

    named = json_is_string(value)
            && json_string_length(value) == name->len
            && ngx_memcmp(json_string_value(value), name->data, name->len)
               == 0;

    json_decref(json);

    return named;
}


ngx_int_t
ngx_gcs_check_permissions(ngx_str_t *body, char **names, ngx_uint_t *held)
{
    size_t       i;
    json_t      *json, *list;
    ngx_uint_t   n;
    const char  *name;

    *held = 0;

    json = body->len ? json_loadb((char *) body->data, body->len, 0, NULL)
                     : NULL;

    if (!json_is_object(json)) {
        json_decref(json);
        return NGX_DECLINED;
    }

    list = json_object_get(json, "permissions");

    for (i = 0; i < json_array_size(list); i++) {
        name = json_string_value(json_array_get(list, i));

        for (n = 0; name && names[n]; n++) {
            if (ngx_strcmp(name, names[n]) == 0) {
                *held |= (ngx_uint_t) 1 << n;
            }
        }
    }

    json_decref(json);

    return NGX_OK;
}
