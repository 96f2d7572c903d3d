
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_escape.h"
#include "ngx_gcs_grant_step.h"


/*
 * With the token of one account the token of another, or its signature.
 * (https://cloud.google.com/iam/docs/reference/credentials/rest/v1/
 * projects.serviceAccounts)
 */


#define NGX_GCS_GRANT_IAM_PATH  "/v1/projects/-/serviceAccounts/"


static ngx_int_t ngx_gcs_grant_iam_request(ngx_gcs_grant_t *grant,
    ngx_gcs_request_t *req);
static ngx_int_t ngx_gcs_grant_iam_post(ngx_gcs_grant_t *grant,
    ngx_gcs_request_t *req, ngx_str_t *account, char *method, json_t *body);
static ngx_int_t ngx_gcs_grant_iam_scopes(json_t *list, ngx_str_t *scope);
static ngx_int_t ngx_gcs_grant_iam_delegates(json_t *list,
    ngx_array_t *delegates);
static ngx_int_t ngx_gcs_grant_iam_response(ngx_gcs_grant_t *grant,
    ngx_gcs_response_t *res);
static time_t ngx_gcs_grant_iam_time(const char *text);
static ngx_int_t ngx_gcs_grant_blob_request(ngx_gcs_grant_t *grant,
    ngx_gcs_request_t *req);
static ngx_int_t ngx_gcs_grant_blob_response(ngx_gcs_grant_t *grant,
    ngx_gcs_response_t *res);


ngx_gcs_grant_step_t  ngx_gcs_grant_iam = {
    "IAM Credentials API", NGX_GCS_EXPLAIN_IAM,
    ngx_gcs_grant_iam_request,
    ngx_gcs_grant_iam_response,
    NULL
};


static ngx_gcs_grant_step_t  ngx_gcs_grant_blob_step = {
    "IAM Credentials API", NGX_GCS_EXPLAIN_IAM,
    ngx_gcs_grant_blob_request,
    ngx_gcs_grant_blob_response,
    NULL
};


static ngx_int_t
ngx_gcs_grant_iam_request(ngx_gcs_grant_t *grant, ngx_gcs_request_t *req)
{
    json_t                   *json, *scopes, *delegates;
    u_char                    lifetime[NGX_TIME_T_LEN + 2];
    ngx_int_t                 rc;
    ngx_str_t                 iam, *scope;
    ngx_gcs_impersonation_t  *imp;

    imp = grant->cred->impersonations.elts;
    imp += grant->hop;

    /* a token in between is for nothing but the next one */

    ngx_str_set(&iam, NGX_GCS_SCOPE_IAM);

    scope = (grant->hop + 1 == grant->cred->impersonations.nelts)
            ? &grant->cred->scope : &iam;

    *ngx_sprintf(lifetime, "%Ts", imp->lifetime) = '\0';

    rc = NGX_ERROR;
    scopes = json_array();
    delegates = json_array();

    json = json_pack("{s:O, s:O, s:s}", "delegates", delegates,
                     "scope", scopes, "lifetime", lifetime);

    if (json
        && ngx_gcs_grant_iam_scopes(scopes, scope) == NGX_OK
        && ngx_gcs_grant_iam_delegates(delegates, imp->delegates) == NGX_OK)
    {
        rc = ngx_gcs_grant_iam_post(grant, req, &imp->email,
                                    ":generateAccessToken", json);
    }

    json_decref(json);
    json_decref(scopes);
    json_decref(delegates);

    return rc;
}


/* authorized by grant->token */

static ngx_int_t
ngx_gcs_grant_iam_post(ngx_gcs_grant_t *grant, ngx_gcs_request_t *req,
    ngx_str_t *account, char *method, json_t *body)
{
    char       *text;
    u_char     *p;
    ngx_str_t   type, *base;

    base = &grant->cred->iam_uri;

    p = ngx_pnalloc(grant->pool,
                    base->len + sizeof(NGX_GCS_GRANT_IAM_PATH) - 1
                    + ngx_gcs_escape_query_len(account->data, account->len)
                    + ngx_strlen(method));
    if (p == NULL) {
        return NGX_ERROR;
    }

    req->url.data = p;

    p = ngx_cpymem(p, base->data, base->len);
    p = ngx_cpymem(p, NGX_GCS_GRANT_IAM_PATH,
                   sizeof(NGX_GCS_GRANT_IAM_PATH) - 1);
    p = ngx_gcs_escape_query(p, account->data, account->len);
    p = ngx_cpymem(p, method, ngx_strlen(method));

    req->url.len = p - req->url.data;

    ngx_str_set(&req->method, "POST");
    ngx_str_set(&type, "application/json");

    if (ngx_gcs_grant_header(grant, req, "Content-Type: ", &type) != NGX_OK
        || ngx_gcs_grant_header(grant, req, "Authorization: Bearer ",
                                &grant->token)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    text = json_dumps(body, JSON_COMPACT);
    if (text == NULL) {
        return NGX_ERROR;
    }

    req->body.len = ngx_strlen(text);
    req->body.data = ngx_pnalloc(grant->pool, req->body.len);

    if (req->body.data) {
        ngx_memcpy(req->body.data, text, req->body.len);
    }

    free(text);

    return req->body.data ? NGX_OK : NGX_ERROR;
}


/* a string separated by spaces there, an array here */

static ngx_int_t
ngx_gcs_grant_iam_scopes(json_t *list, ngx_str_t *scope)
{
    u_char  *p, *q, *last;

    p = scope->data;
    last = scope->data + scope->len;

    while (p < last) {

        q = ngx_strlchr(p, last, ' ');

        if (q == NULL) {
            q = last;
        }

        if (json_array_append_new(list, json_stringn((char *) p, q - p)) != 0)
        {
            return NGX_ERROR;
        }

        p = q + 1;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_grant_iam_delegates(json_t *list, ngx_array_t *delegates)
{
    json_t      *name;
    ngx_str_t   *delegate;
    ngx_uint_t   i;

    if (delegates == NULL) {
        return NGX_OK;
    }

    delegate = delegates->elts;

    for (i = 0; i < delegates->nelts; i++) {

        name = json_sprintf("projects/-/serviceAccounts/%.*s",
                            (int) delegate[i].len, delegate[i].data);

        if (json_array_append_new(list, name) != 0) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_grant_iam_response(ngx_gcs_grant_t *grant, ngx_gcs_response_t *res)
{
    size_t                    len;
    time_t                    lifetime;
    json_t                   *json, *token;
    const char               *value;
    ngx_gcs_impersonation_t  *imp;

    json = ngx_gcs_grant_json(res);
    token = json_object_get(json, "accessToken");

    len = json_string_length(token);
    value = json_string_value(token);

    if (len == 0 || !ngx_gcs_grant_token_valid(value, len)) {
        ngx_gcs_grant_json_free(json);
        return ngx_gcs_grant_failed(grant, NGX_DECLINED, "answered 200 "
                                    "without a valid access token");
    }

    grant->token.data = ngx_gcs_grant_secret(grant, len);

    if (grant->token.data == NULL) {
        ngx_gcs_grant_json_free(json);
        return ngx_gcs_grant_failed(grant, NGX_ERROR, "no memory");
    }

    ngx_memcpy(grant->token.data, value, len);
    grant->token.len = len;

    /*
     * The time of expiry is Google's clock: if it makes no sense here, the
     * lifetime is what was asked for.
     */

    imp = grant->cred->impersonations.elts;
    imp += grant->hop++;

    lifetime = ngx_gcs_grant_iam_time(ngx_gcs_grant_string(json,
                                                           "expireTime"))
               - grant->now;

    ngx_gcs_grant_json_free(json);

    grant->lifetime = (lifetime > 0 && lifetime < imp->lifetime)
                      ? lifetime : imp->lifetime;

    return ngx_gcs_grant_granted(grant);
}


/*
 * RFC 3339, "2026-01-02T04:04:05Z", perhaps with a fraction of a second or
 * an offset; seconds since the epoch, 0 for anything else.
 */

static time_t
ngx_gcs_grant_iam_time(const char *text)
{
    int        n, offset;
    char       sign, end;
    time_t     time;
    unsigned   hours, minutes;
    struct tm  tm;

    if (text == NULL) {
        return 0;
    }

    ngx_memzero(&tm, sizeof(struct tm));

    n = 0;

    if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%n", &tm.tm_year, &tm.tm_mon,
               &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &n)
        != 6)
    {
        return 0;
    }

    if (tm.tm_year < 1970 || tm.tm_mon < 1 || tm.tm_mon > 12) {
        return 0;
    }

    text += n;

    if (*text == '.') {
        text += 1 + strspn(text + 1, "0123456789");
    }

    tm.tm_year -= 1900;
    tm.tm_mon--;

    time = timegm(&tm);

    if (ngx_strcmp(text, "Z") == 0) {
        return time;
    }

    if (sscanf(text, "%c%2u:%2u%c", &sign, &hours, &minutes, &end) != 3
        || (sign != '+' && sign != '-'))
    {
        return 0;
    }

    offset = (int) (hours * 60 + minutes) * 60;

    return (sign == '+') ? time - offset : time + offset;
}


ngx_gcs_grant_t *
ngx_gcs_grant_blob(ngx_pool_t *pool, ngx_gcs_credentials_t *cred,
    ngx_str_t *account, ngx_str_t *token, ngx_str_t *text)
{
    ngx_gcs_grant_t  *grant;

    grant = ngx_pcalloc(pool, sizeof(ngx_gcs_grant_t));
    if (grant == NULL) {
        return NULL;
    }

    grant->pool = pool;
    grant->cred = cred;
    grant->step = &ngx_gcs_grant_blob_step;
    grant->account = *account;
    grant->blob = *text;

    grant->token.len = token->len;

    grant->token.data = ngx_gcs_grant_secret(grant, token->len);
    if (grant->token.data == NULL) {
        return NULL;
    }

    ngx_memcpy(grant->token.data, token->data, token->len);

    return grant;
}


static ngx_int_t
ngx_gcs_grant_blob_request(ngx_gcs_grant_t *grant, ngx_gcs_request_t *req)
{
    json_t                   *json, *delegates;
    ngx_int_t                 rc;
    ngx_str_t                 payload;
    ngx_gcs_impersonation_t  *signer;

    signer = grant->cred->signer;

    payload.data = ngx_pnalloc(grant->pool,
                               ngx_base64_encoded_length(grant->blob.len));
    if (payload.data == NULL) {
        return NGX_ERROR;
    }

    ngx_encode_base64(&payload, &grant->blob);

    rc = NGX_ERROR;
    delegates = json_array();

    json = json_pack("{s:O, s:s%}", "delegates", delegates,
                     "payload", payload.data, payload.len);

    if (json
        && ngx_gcs_grant_iam_delegates(delegates,
                                       signer ? signer->delegates : NULL)
           == NGX_OK)
    {
        rc = ngx_gcs_grant_iam_post(grant, req, &grant->account, ":signBlob",
                                    json);
    }

    json_decref(json);
    json_decref(delegates);

    return rc;
}


static ngx_int_t
ngx_gcs_grant_blob_response(ngx_gcs_grant_t *grant, ngx_gcs_response_t *res)
{
    json_t     *json, *value;
    ngx_int_t   rc;
    ngx_str_t   encoded;

    json = ngx_gcs_grant_json(res);
    value = json_object_get(json, "signedBlob");

    encoded.len = json_string_length(value);
    encoded.data = (u_char *) json_string_value(value);

    grant->blob.len = 0;
    rc = NGX_DECLINED;

    if (encoded.len && encoded.len <= NGX_GCS_GRANT_BLOB_MAX) {
        grant->blob.data = ngx_pnalloc(grant->pool,
                                       ngx_base64_decoded_length(encoded.len));

        rc = grant->blob.data ? ngx_decode_base64(&grant->blob, &encoded)
                              : NGX_DECLINED;
    }

    json_decref(json);

    if (rc != NGX_OK || grant->blob.len == 0) {
        return ngx_gcs_grant_failed(grant, NGX_DECLINED, "answered 200 "
                                    "without a valid signature");
    }

    return NGX_OK;
}
