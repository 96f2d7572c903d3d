
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <openssl/crypto.h>

#include "ngx_gcs_aws.h"
#include "ngx_gcs_credentials.h"
#include "ngx_gcs_crypto.h"
#include "ngx_gcs_escape.h"
#include "ngx_gcs_sign.h"


#define NGX_GCS_AWS_REGION_MAX    63

#define NGX_GCS_AWS_JSON_URL      "{\"url\":\""
#define NGX_GCS_AWS_JSON_HEADERS  "\",\"method\":\"POST\",\"headers\":["
#define NGX_GCS_AWS_JSON_END      "]}"
#define NGX_GCS_AWS_JSON_KEY      "{\"key\":\""
#define NGX_GCS_AWS_JSON_VALUE    "\",\"value\":\""
#define NGX_GCS_AWS_JSON_NEXT     "\"}"


static ngx_uint_t ngx_gcs_aws_region_valid(ngx_str_t *region);
static ngx_int_t ngx_gcs_aws_sign(ngx_pool_t *pool, ngx_gcs_aws_keys_t *keys,
    ngx_str_t *region, ngx_gcs_aws_url_t *url, ngx_gcs_sign_request_t *req,
    ngx_str_t *authorization);
static ngx_int_t ngx_gcs_aws_header(ngx_array_t *headers, char *name,
    ngx_str_t *value);
static ngx_int_t ngx_gcs_aws_json(ngx_pool_t *pool, ngx_gcs_aws_url_t *url,
    ngx_str_t *authorization, ngx_array_t *headers, ngx_str_t *json);
static u_char *ngx_gcs_aws_json_header(u_char *p, ngx_str_t *name,
    ngx_str_t *value);
static ngx_uint_t ngx_gcs_aws_host_follows(u_char *p, u_char *last,
    char *host);


ngx_int_t
ngx_gcs_aws_subject_token(ngx_pool_t *pool, ngx_gcs_aws_keys_t *keys,
    ngx_str_t *region, ngx_str_t *url, ngx_str_t *audience, time_t now,
    ngx_str_t *token)
{
    u_char                   date[NGX_GCS_SIGN_DATE_LEN];
    ngx_int_t                rc;
    ngx_str_t                json, stamp, authorization, *secret;
    ngx_gcs_aws_url_t        parts;
    ngx_gcs_sign_request_t   req;

    if (ngx_gcs_aws_check_keys(keys) != NGX_OK
        || !ngx_gcs_aws_region_valid(region)
        || !ngx_gcs_aws_word(audience))
    {
        return NGX_DECLINED;
    }

    rc = ngx_gcs_aws_url(pool, url, region, &parts);
    if (rc != NGX_OK) {
        return rc;
    }

    stamp.len = ngx_gcs_sign_date(now, date) - date;
    stamp.data = date;

    ngx_str_set(&req.method, "POST");
    ngx_str_set(&req.payload, NGX_GCS_SIGN_EMPTY);
    req.path = parts.path;
    req.query = parts.query;
    req.now = now;

    req.headers = ngx_array_create(pool, 4, sizeof(ngx_keyval_t));
    if (req.headers == NULL) {
        return NGX_ERROR;
    }

    if (ngx_gcs_aws_header(req.headers, "host", &parts.host) != NGX_OK
        || ngx_gcs_aws_header(req.headers, "x-amz-date", &stamp) != NGX_OK
        || ngx_gcs_aws_header(req.headers, "x-amz-security-token",
                              &keys->session_token)
           != NGX_OK
        || ngx_gcs_aws_header(req.headers, "x-goog-cloud-target-resource",
                              audience)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    rc = ngx_gcs_aws_sign(pool, keys, region, &parts, &req, &authorization);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_gcs_aws_json(pool, &parts, &authorization, req.headers, &json);

    OPENSSL_cleanse(authorization.data, authorization.len);

    if (rc != NGX_OK) {
        return rc;
    }

    secret = ngx_gcs_crypto_secret(pool,
                                ngx_gcs_escape_query_len(json.data, json.len));

    if (secret) {
        (void) ngx_gcs_escape_query(secret->data, json.data, json.len);
        *token = *secret;
    }

    OPENSSL_cleanse(json.data, json.len);

    return secret ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_gcs_aws_sign(ngx_pool_t *pool, ngx_gcs_aws_keys_t *keys,
    ngx_str_t *region, ngx_gcs_aws_url_t *url, ngx_gcs_sign_request_t *req,
    ngx_str_t *authorization)
{
    ngx_int_t               rc;
    ngx_gcs_sign_key_t      key;
    ngx_gcs_sign_dialect_t  dialect;

    ngx_str_set(&dialect.algorithm, "AWS4-HMAC-SHA256");
    ngx_str_set(&dialect.prefix, "AWS4");
    ngx_str_set(&dialect.terminator, "aws4_request");
    dialect.location = *region;
    dialect.service = url->service;

    ngx_memzero(&key, sizeof(ngx_gcs_sign_key_t));

    rc = ngx_gcs_sign_key(&dialect, &keys->secret_access_key, req->now, &key);

    if (rc == NGX_OK) {
        rc = ngx_gcs_sign_authorization(pool, &dialect, &keys->access_key_id,
                                        &key, req, authorization);
    }

    OPENSSL_cleanse(&key, sizeof(ngx_gcs_sign_key_t));

    return rc;
}


/* a header without a value is none */

static ngx_int_t
ngx_gcs_aws_header(ngx_array_t *headers, char *name, ngx_str_t *value)
{
    ngx_keyval_t  *header;

    if (value->len == 0) {
        return NGX_OK;
    }

    header = ngx_array_push(headers);
    if (header == NULL) {
        return NGX_ERROR;
    }

    header->key.len = ngx_strlen(name);
    header->key.data = (u_char *) name;
    header->value = *value;

    return NGX_OK;
}


/* all texts are of characters that JSON has no escapes for */

static ngx_int_t
ngx_gcs_aws_json(ngx_pool_t *pool, ngx_gcs_aws_url_t *url,
    ngx_str_t *authorization, ngx_array_t *headers, ngx_str_t *json)
{
    size_t            len, each;
    u_char           *p;
    ngx_uint_t        i;
    ngx_keyval_t     *header;
    static ngx_str_t  name = ngx_string("Authorization");

    each = sizeof(NGX_GCS_AWS_JSON_KEY) - 1
           + sizeof(NGX_GCS_AWS_JSON_VALUE) - 1
           + sizeof(NGX_GCS_AWS_JSON_NEXT) - 1;

    len = sizeof(NGX_GCS_AWS_JSON_URL) - 1 + url->text.len
          + sizeof(NGX_GCS_AWS_JSON_HEADERS) - 1
          + each + name.len + authorization->len
          + sizeof(NGX_GCS_AWS_JSON_END) - 1;

    header = headers->elts;

    for (i = 0; i < headers->nelts; i++) {
        len += sizeof(",") - 1 + each + header[i].key.len
               + header[i].value.len;
    }

    json->data = ngx_pnalloc(pool, len);
    if (json->data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(json->data, NGX_GCS_AWS_JSON_URL,
                   sizeof(NGX_GCS_AWS_JSON_URL) - 1);
    p = ngx_cpymem(p, url->text.data, url->text.len);
    p = ngx_cpymem(p, NGX_GCS_AWS_JSON_HEADERS,
                   sizeof(NGX_GCS_AWS_JSON_HEADERS) - 1);

    p = ngx_gcs_aws_json_header(p, &name, authorization);

    for (i = 0; i < headers->nelts; i++) {
        *p++ = ',';
        p = ngx_gcs_aws_json_header(p, &header[i].key, &header[i].value);
    }

    p = ngx_cpymem(p, NGX_GCS_AWS_JSON_END, sizeof(NGX_GCS_AWS_JSON_END) - 1);

    json->len = p - json->data;

    return NGX_OK;
}


static u_char *
ngx_gcs_aws_json_header(u_char *p, ngx_str_t *name, ngx_str_t *value)
{
    p = ngx_cpymem(p, NGX_GCS_AWS_JSON_KEY, sizeof(NGX_GCS_AWS_JSON_KEY) - 1);
    p = ngx_cpymem(p, name->data, name->len);
    p = ngx_cpymem(p, NGX_GCS_AWS_JSON_VALUE,
                   sizeof(NGX_GCS_AWS_JSON_VALUE) - 1);
    p = ngx_cpymem(p, value->data, value->len);
    p = ngx_cpymem(p, NGX_GCS_AWS_JSON_NEXT,
                   sizeof(NGX_GCS_AWS_JSON_NEXT) - 1);

    return p;
}


/* no character that could end a label of a host or a part of a scope */

static ngx_uint_t
ngx_gcs_aws_region_valid(ngx_str_t *region)
{
    u_char  ch;
    size_t  i;

    for (i = 0; i < region->len; i++) {
        ch = region->data[i];

        if ((ch < 'a' || ch > 'z') && (ch < '0' || ch > '9') && ch != '-') {
            return 0;
        }
    }

    return region->len != 0 && region->len <= NGX_GCS_AWS_REGION_MAX
           && region->data[0] != '-';
}


ngx_int_t
ngx_gcs_aws_region(ngx_str_t *zone, ngx_str_t *region)
{
    u_char      *p, *last;
    ngx_uint_t   words;

    /* so all that follows is a letter, a digit or a dash */

    if (!ngx_gcs_aws_region_valid(zone)) {
        return NGX_DECLINED;
    }

    p = zone->data;
    last = p + zone->len;

    /* "us-gov-west-": words of letters, two at least */

    for (words = 0; p < last && *p >= 'a'; words++) {

        while (p < last && *p >= 'a') {
            p++;
        }

        if (p == last || *p != '-') {
            return NGX_DECLINED;
        }

        p++;
    }

    if (words < 2 || p == last || *p == '-') {
        return NGX_DECLINED;
    }

    /* the number */

    while (p < last && *p != '-' && *p <= '9') {
        p++;
    }

    region->len = p - zone->data;
    region->data = zone->data;

    if (p == last) {
        return NGX_OK;
    }

    /* the letter of a zone, or the name of a local one */

    if (*p != '-') {
        return p + 1 == last ? NGX_OK : NGX_DECLINED;
    }

    if (p + 1 == last || p[1] < 'a' || last[-1] == '-') {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


ngx_uint_t
ngx_gcs_aws_container_url_allowed(ngx_str_t *url)
{
    u_char  *p, *last;

    if (ngx_gcs_credentials_url_secure(url)) {
        return 1;
    }

    if (url->len < sizeof("http://") - 1
        || ngx_strncasecmp(url->data, (u_char *) "http://",
                           sizeof("http://") - 1)
           != 0)
    {
        return 0;
    }

    p = url->data + sizeof("http://") - 1;
    last = url->data + url->len;

    return ngx_gcs_aws_host_follows(p, last, "169.254.170.2")
           || ngx_gcs_aws_host_follows(p, last, "169.254.170.23")
           || ngx_gcs_aws_host_follows(p, last, "[fd00:ec2::23]");
}


/* host, perhaps a port, and then the path or nothing */

static ngx_uint_t
ngx_gcs_aws_host_follows(u_char *p, u_char *last, char *host)
{
    size_t      len;
    u_char     *port;
    ngx_int_t   n;

    len = ngx_strlen(host);

    if ((size_t) (last - p) < len
        || ngx_strncasecmp(p, (u_char *) host, len) != 0)
    {
        return 0;
    }

    p += len;

    if (p < last && *p == ':') {

        port = ++p;

        while (p < last && *p >= '0' && *p <= '9') {
            p++;
        }

        n = ngx_atoi(port, p - port);

        if (n < 1 || n > 65535) {
            return 0;
        }
    }

    if (p < last && *p != '/' && *p != '?') {
        return 0;
    }

    for ( /* void */ ; p < last; p++) {
        if (*p <= ' ' || *p >= 0x7f || *p == '#' || *p == '\\') {
            return 0;
        }
    }

    return 1;
}
