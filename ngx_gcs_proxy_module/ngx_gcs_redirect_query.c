
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <time.h>

#include "ngx_gcs_redirect.h"
#include "ngx_gcs_unescape.h"


#define NGX_GCS_REDIRECT_EXPIRES    (7 * 86400)
#define NGX_GCS_REDIRECT_DATE_LEN   (sizeof("YYYYMMDDTHHMMSSZ") - 1)
#define NGX_GCS_REDIRECT_DAY_LEN    (sizeof("YYYYMMDD") - 1)
#define NGX_GCS_REDIRECT_TIME_LEN   (sizeof("9999999999") - 1)

/* the hexadecimal digits of HMAC-SHA256, the shortest signature */
#define NGX_GCS_REDIRECT_HMAC_LEN   64


/* the two dialects of V4 have the same parts in the same order */

enum {
    NGX_GCS_REDIRECT_ALGORITHM = 0,
    NGX_GCS_REDIRECT_CREDENTIAL,
    NGX_GCS_REDIRECT_DATE,
    NGX_GCS_REDIRECT_LIFE,
    NGX_GCS_REDIRECT_HEADERS,
    NGX_GCS_REDIRECT_SIGNED,
    NGX_GCS_REDIRECT_PARTS
};


enum {
    NGX_GCS_REDIRECT_GOOG = 0,
    NGX_GCS_REDIRECT_AMZ = NGX_GCS_REDIRECT_PARTS,
    NGX_GCS_REDIRECT_ID = 2 * NGX_GCS_REDIRECT_PARTS,
    NGX_GCS_REDIRECT_END,
    NGX_GCS_REDIRECT_SIGNED2,
    NGX_GCS_REDIRECT_DISPOSITION,
    NGX_GCS_REDIRECT_TYPE,
    NGX_GCS_REDIRECT_GENERATION,
    NGX_GCS_REDIRECT_PROJECT,
    NGX_GCS_REDIRECT_PARAMS
};


#define NGX_GCS_REDIRECT_PARTS2                                               \
    (NGX_GCS_REDIRECT_DISPOSITION - NGX_GCS_REDIRECT_ID)


typedef struct {
    ngx_str_t    algorithms[2];
    ngx_str_t    scope;           /* where the credential ends */
} ngx_gcs_redirect_dialect_t;


static ngx_int_t ngx_gcs_redirect_param(ngx_pool_t *pool, u_char *p,
    u_char *last, ngx_str_t *values, ngx_gcs_redirect_t *redirect,
    char **reason);
static ngx_int_t ngx_gcs_redirect_value(ngx_pool_t *pool, ngx_str_t *raw,
    ngx_str_t *value);
static ngx_uint_t ngx_gcs_redirect_equal(ngx_str_t *text, ngx_str_t *with);
static ngx_int_t ngx_gcs_redirect_signature(ngx_str_t *values,
    ngx_gcs_redirect_t *redirect);
static ngx_uint_t ngx_gcs_redirect_count(ngx_str_t *values, ngx_uint_t n);
static ngx_int_t ngx_gcs_redirect_v4(ngx_str_t *values,
    ngx_gcs_redirect_dialect_t *dialect, time_t *expires);
static ngx_int_t ngx_gcs_redirect_credential(ngx_str_t *credential,
    ngx_str_t *date, ngx_str_t *scope);
static ngx_int_t ngx_gcs_redirect_date(ngx_str_t *date, time_t *t);
static ngx_int_t ngx_gcs_redirect_v2(ngx_str_t *values, time_t *expires);
static ngx_uint_t ngx_gcs_redirect_number(ngx_str_t *text);


static ngx_str_t  ngx_gcs_redirect_params[] = {
    ngx_string("X-Goog-Algorithm"),
    ngx_string("X-Goog-Credential"),
    ngx_string("X-Goog-Date"),
    ngx_string("X-Goog-Expires"),
    ngx_string("X-Goog-SignedHeaders"),
    ngx_string("X-Goog-Signature"),
    ngx_string("X-Amz-Algorithm"),
    ngx_string("X-Amz-Credential"),
    ngx_string("X-Amz-Date"),
    ngx_string("X-Amz-Expires"),
    ngx_string("X-Amz-SignedHeaders"),
    ngx_string("X-Amz-Signature"),
    ngx_string("GoogleAccessId"),
    ngx_string("Expires"),
    ngx_string("Signature"),
    ngx_string("response-content-disposition"),
    ngx_string("response-content-type"),
    ngx_string("generation"),
    ngx_string("userProject")
};


static ngx_gcs_redirect_dialect_t  ngx_gcs_redirect_goog = {
    { ngx_string("GOOG4-RSA-SHA256"), ngx_string("GOOG4-HMAC-SHA256") },
    ngx_string("/storage/goog4_request")
};


static ngx_gcs_redirect_dialect_t  ngx_gcs_redirect_amz = {
    { ngx_string("AWS4-HMAC-SHA256"), ngx_null_string },
    ngx_string("/s3/aws4_request")
};


static ngx_str_t  ngx_gcs_redirect_only_host = ngx_string("host");


ngx_int_t
ngx_gcs_redirect_query(ngx_pool_t *pool, ngx_str_t *query,
    ngx_gcs_redirect_t *redirect, char **reason)
{
    u_char     *p, *end, *last;
    ngx_int_t   rc;
    ngx_str_t   values[NGX_GCS_REDIRECT_PARAMS];

    ngx_memzero(values, sizeof(values));

    last = query->data + query->len;

    for (p = query->data; p < last; p = end + 1) {

        end = ngx_strlchr(p, last, '&');

        if (end == NULL) {
            end = last;
        }

        rc = ngx_gcs_redirect_param(pool, p, end, values, redirect, reason);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    redirect->disposition = values[NGX_GCS_REDIRECT_DISPOSITION];
    redirect->type = values[NGX_GCS_REDIRECT_TYPE];
    redirect->generation = values[NGX_GCS_REDIRECT_GENERATION];
    redirect->user_project = values[NGX_GCS_REDIRECT_PROJECT];

    if (redirect->generation.data
        && !ngx_gcs_redirect_number(&redirect->generation))
    {
        *reason = "a generation that is no number";
        return NGX_DECLINED;
    }

    if (ngx_gcs_redirect_signature(values, redirect) != NGX_OK) {
        *reason = "a part of a signature, a malformed one, or two";
        return NGX_DECLINED;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_redirect_param(ngx_pool_t *pool, u_char *p, u_char *last,
    ngx_str_t *values, ngx_gcs_redirect_t *redirect, char **reason)
{
    u_char      *equal;
    ngx_int_t    rc;
    ngx_str_t    name, raw;
    ngx_uint_t   i;

    equal = ngx_strlchr(p, last, '=');

    name.data = p;
    name.len = (equal ? equal : last) - p;

    raw.data = equal ? equal + 1 : last;
    raw.len = last - raw.data;

    if (name.len == 0
        || ngx_strlchr(p, p + name.len, '%')
        || ngx_strlchr(p, p + name.len, '+'))
    {
        *reason = "a parameter without a name, or with an escaped one";
        return NGX_DECLINED;
    }

    if (raw.len == 0) {
        *reason = "a parameter without a value";
        return NGX_DECLINED;
    }

    for (i = 0; i < NGX_GCS_REDIRECT_PARAMS; i++) {
        if (ngx_gcs_redirect_params[i].len == name.len
            && ngx_strncasecmp(ngx_gcs_redirect_params[i].data, name.data,
                               name.len)
               == 0)
        {
            break;
        }
    }

    if (i == NGX_GCS_REDIRECT_PARAMS) {
        redirect->other = 1;
        return NGX_OK;
    }

    if (!ngx_gcs_redirect_equal(&name, &ngx_gcs_redirect_params[i])) {
        *reason = "a parameter in another case than documented";
        return NGX_DECLINED;
    }

    if (values[i].data) {
        *reason = "a parameter twice";
        return NGX_DECLINED;
    }

    rc = ngx_gcs_redirect_value(pool, &raw, &values[i]);

    if (rc == NGX_DECLINED) {
        *reason = "a parameter with a control character";
    }

    return rc;
}


static ngx_int_t
ngx_gcs_redirect_value(ngx_pool_t *pool, ngx_str_t *raw, ngx_str_t *value)
{
    u_char  *p;
    size_t   i;

    *value = *raw;

    if (ngx_strlchr(raw->data, raw->data + raw->len, '%')
        || ngx_strlchr(raw->data, raw->data + raw->len, '+'))
    {
        p = ngx_pnalloc(pool, raw->len);
        if (p == NULL) {
            return NGX_ERROR;
        }

        value->data = p;
        value->len = ngx_gcs_unescape(p, raw->data, raw->len, 1) - p;
    }

    for (i = 0; i < value->len; i++) {
        if (value->data[i] < ' ' || value->data[i] == 0x7f) {
            return NGX_DECLINED;
        }
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_gcs_redirect_equal(ngx_str_t *text, ngx_str_t *with)
{
    return text->len == with->len
           && ngx_memcmp(text->data, with->data, with->len) == 0;
}


static ngx_int_t
ngx_gcs_redirect_signature(ngx_str_t *values, ngx_gcs_redirect_t *redirect)
{
    ngx_uint_t  goog, amz, v2;

    goog = ngx_gcs_redirect_count(&values[NGX_GCS_REDIRECT_GOOG],
                                  NGX_GCS_REDIRECT_PARTS);
    amz = ngx_gcs_redirect_count(&values[NGX_GCS_REDIRECT_AMZ],
                                 NGX_GCS_REDIRECT_PARTS);
    v2 = ngx_gcs_redirect_count(&values[NGX_GCS_REDIRECT_ID],
                                NGX_GCS_REDIRECT_PARTS2);

    if (goog + amz + v2 == 0) {
        return NGX_OK;
    }

    if (goog == NGX_GCS_REDIRECT_PARTS && amz + v2 == 0) {
        redirect->signature = NGX_GCS_REDIRECT_V4;

        return ngx_gcs_redirect_v4(&values[NGX_GCS_REDIRECT_GOOG],
                                   &ngx_gcs_redirect_goog,
                                   &redirect->expires);
    }

    if (amz == NGX_GCS_REDIRECT_PARTS && goog + v2 == 0) {
        redirect->signature = NGX_GCS_REDIRECT_AWS4;

        return ngx_gcs_redirect_v4(&values[NGX_GCS_REDIRECT_AMZ],
                                   &ngx_gcs_redirect_amz,
                                   &redirect->expires);
    }

    if (v2 == NGX_GCS_REDIRECT_PARTS2 && goog + amz == 0) {
        redirect->signature = NGX_GCS_REDIRECT_V2;

        return ngx_gcs_redirect_v2(&values[NGX_GCS_REDIRECT_ID],
                                   &redirect->expires);
    }

    return NGX_DECLINED;
}


static ngx_uint_t
ngx_gcs_redirect_count(ngx_str_t *values, ngx_uint_t n)
{
    ngx_uint_t  found;

    for (found = 0; n; n--) {
        found += (values++)->data != NULL;
    }

    return found;
}


static ngx_int_t
ngx_gcs_redirect_v4(ngx_str_t *values, ngx_gcs_redirect_dialect_t *dialect,
    time_t *expires)
{
    u_char      ch;
    size_t      i;
    ngx_int_t   life;
    ngx_str_t  *value;

    value = &values[NGX_GCS_REDIRECT_ALGORITHM];

    if (!ngx_gcs_redirect_equal(value, &dialect->algorithms[0])
        && !ngx_gcs_redirect_equal(value, &dialect->algorithms[1]))
    {
        return NGX_DECLINED;
    }

    if (ngx_gcs_redirect_date(&values[NGX_GCS_REDIRECT_DATE], expires)
        != NGX_OK
        || ngx_gcs_redirect_credential(&values[NGX_GCS_REDIRECT_CREDENTIAL],
                                       &values[NGX_GCS_REDIRECT_DATE],
                                       &dialect->scope)
           != NGX_OK)
    {
        return NGX_DECLINED;
    }

    value = &values[NGX_GCS_REDIRECT_LIFE];

    if (!ngx_gcs_redirect_number(value)
        || value->len > NGX_GCS_REDIRECT_TIME_LEN)
    {
        return NGX_DECLINED;
    }

    life = ngx_atoi(value->data, value->len);

    if (life < 1 || life > NGX_GCS_REDIRECT_EXPIRES) {
        return NGX_DECLINED;
    }

    *expires += life;

    if (!ngx_gcs_redirect_equal(&values[NGX_GCS_REDIRECT_HEADERS],
                                &ngx_gcs_redirect_only_host))
    {
        return NGX_DECLINED;
    }

    value = &values[NGX_GCS_REDIRECT_SIGNED];

    if (value->len < NGX_GCS_REDIRECT_HMAC_LEN || value->len % 2) {
        return NGX_DECLINED;
    }

    for (i = 0; i < value->len; i++) {
        ch = ngx_tolower(value->data[i]);

        if ((ch < '0' || ch > '9') && (ch < 'a' || ch > 'f')) {
            return NGX_DECLINED;
        }
    }

    return NGX_OK;
}


/* ID/DAY/LOCATION and the scope, with none of them empty */

static ngx_int_t
ngx_gcs_redirect_credential(ngx_str_t *credential, ngx_str_t *date,
    ngx_str_t *scope)
{
    u_char  *p, *day, *location, *last;

    if (credential->len < scope->len) {
        return NGX_DECLINED;
    }

    p = credential->data;
    last = p + credential->len - scope->len;

    if (ngx_memcmp(last, scope->data, scope->len) != 0) {
        return NGX_DECLINED;
    }

    day = ngx_strlchr(p, last, '/');

    if (day == NULL || day == p) {
        return NGX_DECLINED;
    }

    day++;

    location = ngx_strlchr(day, last, '/');

    if (location == NULL || location - day != NGX_GCS_REDIRECT_DAY_LEN
        || ngx_memcmp(day, date->data, NGX_GCS_REDIRECT_DAY_LEN) != 0)
    {
        return NGX_DECLINED;
    }

    location++;

    if (location == last || ngx_strlchr(location, last, '/')) {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_redirect_date(ngx_str_t *date, time_t *t)
{
    u_char     *p;
    size_t      i;
    struct tm   tm;

    if (date->len != NGX_GCS_REDIRECT_DATE_LEN) {
        return NGX_DECLINED;
    }

    p = date->data;

    for (i = 0; i < NGX_GCS_REDIRECT_DATE_LEN; i++) {

        if (i == NGX_GCS_REDIRECT_DAY_LEN) {
            if (p[i] != 'T') {
                return NGX_DECLINED;
            }

        } else if (i == NGX_GCS_REDIRECT_DATE_LEN - 1) {
            if (p[i] != 'Z') {
                return NGX_DECLINED;
            }

        } else if (p[i] < '0' || p[i] > '9') {
            return NGX_DECLINED;
        }
    }

    ngx_memzero(&tm, sizeof(struct tm));

    tm.tm_year = (int) ngx_atoi(p, 4) - 1900;
    tm.tm_mon = (int) ngx_atoi(p + 4, 2) - 1;
    tm.tm_mday = (int) ngx_atoi(p + 6, 2);
    tm.tm_hour = (int) ngx_atoi(p + 9, 2);
    tm.tm_min = (int) ngx_atoi(p + 11, 2);
    tm.tm_sec = (int) ngx_atoi(p + 13, 2);

    if (tm.tm_year < 70 || tm.tm_mon < 0 || tm.tm_mon > 11
        || tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 23
        || tm.tm_min > 59 || tm.tm_sec > 59)
    {
        return NGX_DECLINED;
    }

    *t = timegm(&tm);

    return NGX_OK;
}


/* of ID and signature it is enough that they are there */

static ngx_int_t
ngx_gcs_redirect_v2(ngx_str_t *values, time_t *expires)
{
    ngx_str_t  *end;

    end = &values[NGX_GCS_REDIRECT_END - NGX_GCS_REDIRECT_ID];

    if (!ngx_gcs_redirect_number(end)
        || end->len > NGX_GCS_REDIRECT_TIME_LEN)
    {
        return NGX_DECLINED;
    }

    *expires = (time_t) ngx_atoi(end->data, end->len);

    return *expires > 0 ? NGX_OK : NGX_DECLINED;
}


static ngx_uint_t
ngx_gcs_redirect_number(ngx_str_t *text)
{
    size_t  i;

    if (text->len > NGX_INT64_LEN - 1) {
        return 0;
    }

    for (i = 0; i < text->len; i++) {
        if (text->data[i] < '0' || text->data[i] > '9') {
            return 0;
        }
    }

    return text->len != 0;
}
