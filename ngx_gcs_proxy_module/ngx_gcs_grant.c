
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_crypto.h"
#include "ngx_gcs_escape.h"
#include "ngx_gcs_grant_step.h"


ngx_gcs_grant_t *
ngx_gcs_grant_create(ngx_pool_t *pool, ngx_gcs_credentials_t *cred)
{
    ngx_gcs_grant_t  *grant;

    grant = ngx_pcalloc(pool, sizeof(ngx_gcs_grant_t));
    if (grant == NULL) {
        return NULL;
    }

    grant->pool = pool;
    grant->cred = cred;

    switch (cred->type) {

    case NGX_GCS_AUTHORIZED_USER:
    case NGX_GCS_EXTERNAL_USER:
        grant->step = &ngx_gcs_grant_refresh;
        break;

    case NGX_GCS_EXTERNAL_ACCOUNT:
        grant->step = ngx_gcs_grant_subject_first(grant);
        break;

    case NGX_GCS_METADATA_SERVER:
        grant->step = &ngx_gcs_grant_metadata;
        break;

    default: /* NGX_GCS_SERVICE_ACCOUNT */
        grant->step = &ngx_gcs_grant_jwt;
    }

    return grant;
}


ngx_int_t
ngx_gcs_grant_request(ngx_gcs_grant_t *grant, time_t now,
    ngx_gcs_request_t *req)
{
    ngx_int_t  rc;

    grant->now = now;
    grant->word = NULL;

    ngx_str_null(&grant->error);

    rc = grant->step->request(grant, req);

    if (rc == NGX_DONE && ngx_gcs_grant_granted(grant) == NGX_AGAIN) {
        rc = grant->step->request(grant, req);
    }

    if (rc == NGX_ERROR && grant->error.len == 0) {
        ngx_str_set(&grant->error, "no memory or no signature");
    }

    return rc;
}


ngx_uint_t
ngx_gcs_grant_patient(ngx_gcs_grant_t *grant)
{
    return grant->cred->patient && grant->step == &ngx_gcs_grant_metadata;
}


ngx_int_t
ngx_gcs_grant_response(ngx_gcs_grant_t *grant, ngx_gcs_response_t *res)
{
    ngx_int_t              rc;
    ngx_gcs_grant_step_t  *step;

    step = grant->step;

    ngx_str_null(&grant->token);
    ngx_str_null(&grant->error);

    grant->lifetime = 0;
    grant->word = NULL;
    grant->retry_after = res->retry_after;

    if (res->status == 200) {
        rc = step->response(grant, res);

    } else if (step->refused) {
        rc = step->refused(grant, res);

    } else if (res->status == 0) {
        rc = ngx_gcs_grant_unanswered(grant, res);

    } else {
        rc = ngx_gcs_grant_refused(grant, res);
    }

    if (rc == NGX_OK) {
        grant->retry_after = 0;
    }

    return rc;
}


ngx_int_t
ngx_gcs_grant_unanswered(ngx_gcs_grant_t *grant, ngx_gcs_response_t *res)
{
    u_char             *p, *last;
    ngx_gcs_explain_t  *explain;

    p = ngx_pnalloc(grant->pool, NGX_GCS_GRANT_ERROR_MAX);
    if (p == NULL) {
        return ngx_gcs_grant_failed(grant, NGX_ERROR, "no memory");
    }

    last = p + NGX_GCS_GRANT_ERROR_MAX;

    grant->error.data = p;

    p = ngx_slprintf(p, last, "%s: %V", grant->step->name, &res->body);

    explain = ngx_gcs_explain(grant->step->where, NGX_GCS_EXPLAIN_UNANSWERED,
                              NULL, NULL);
    if (explain) {
        grant->word = explain->word;
        p = ngx_slprintf(p, last, "; %s", explain->remedy);
    }

    grant->error.len = p - grant->error.data;

    return NGX_BUSY;
}


ngx_str_t *
ngx_gcs_grant_scope(ngx_gcs_grant_t *grant)
{
    static ngx_str_t  iam = ngx_string(NGX_GCS_SCOPE_IAM);

    return grant->cred->impersonations.nelts ? &iam : &grant->cred->scope;
}


ngx_int_t
ngx_gcs_grant_granted(ngx_gcs_grant_t *grant)
{
    if (grant->hop < grant->cred->impersonations.nelts) {
        grant->step = &ngx_gcs_grant_iam;
        return NGX_AGAIN;
    }

    return NGX_OK;
}


u_char *
ngx_gcs_grant_secret(ngx_gcs_grant_t *grant, size_t len)
{
    ngx_str_t  *secret;

    secret = ngx_gcs_crypto_secret(grant->pool, len);

    return secret ? secret->data : NULL;
}


ngx_int_t
ngx_gcs_grant_trim(ngx_gcs_grant_t *grant, ngx_str_t *text, ngx_str_t *value)
{
    u_char  *p, *last;

    p = text->data;
    last = text->data + text->len;

    while (p < last && *p <= ' ') {
        p++;
    }

    while (last > p && last[-1] <= ' ') {
        last--;
    }

    if (p == last) {
        return NGX_DECLINED;
    }

    value->len = last - p;

    value->data = ngx_gcs_grant_secret(grant, value->len);
    if (value->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(value->data, p, value->len);

    return NGX_OK;
}


ngx_int_t
ngx_gcs_grant_header(ngx_gcs_grant_t *grant, ngx_gcs_request_t *req,
    char *name, ngx_str_t *value)
{
    u_char     *p;
    ngx_str_t  *header;

    if (req->headers == NULL) {
        req->headers = ngx_array_create(grant->pool, 4, sizeof(ngx_str_t));
        if (req->headers == NULL) {
            return NGX_ERROR;
        }
    }

    header = ngx_array_push(req->headers);
    if (header == NULL) {
        return NGX_ERROR;
    }

    header->len = ngx_strlen(name) + value->len;

    header->data = ngx_gcs_grant_secret(grant, header->len);
    if (header->data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(header->data, name, ngx_strlen(name));
    ngx_memcpy(p, value->data, value->len);

    return NGX_OK;
}


ngx_int_t
ngx_gcs_grant_form(ngx_gcs_grant_t *grant, ngx_gcs_request_t *req,
    ngx_keyval_t *pairs)
{
    size_t         len;
    u_char        *p;
    ngx_str_t      type;
    ngx_keyval_t  *pair;

    ngx_str_set(&type, "application/x-www-form-urlencoded");

    if (ngx_gcs_grant_header(grant, req, "Content-Type: ", &type) != NGX_OK) {
        return NGX_ERROR;
    }

    len = 0;

    for (pair = pairs; pair->key.len; pair++) {
        len += pair->key.len + sizeof("=&") - 1
               + ngx_gcs_escape_query_len(pair->value.data, pair->value.len);
    }

    p = ngx_gcs_grant_secret(grant, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_str_set(&req->method, "POST");
    req->body.data = p;

    for (pair = pairs; pair->key.len; pair++) {

        if (pair->value.len == 0) {
            continue;
        }

        if (p != req->body.data) {
            *p++ = '&';
        }

        p = ngx_cpymem(p, pair->key.data, pair->key.len);
        *p++ = '=';
        p = ngx_gcs_escape_query(p, pair->value.data, pair->value.len);
    }

    req->body.len = p - req->body.data;

    return NGX_OK;
}


/* not form-encoded before, as RFC 6749 wants it: Google's clients do not */

ngx_int_t
ngx_gcs_grant_basic(ngx_gcs_grant_t *grant, ngx_gcs_request_t *req)
{
    u_char     *p;
    ngx_str_t   plain, value, *id, *secret;

    id = &grant->cred->client_id;
    secret = &grant->cred->client_secret;

    plain.len = id->len + 1 + secret->len;

    plain.data = ngx_gcs_grant_secret(grant, plain.len);
    if (plain.data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(plain.data, id->data, id->len);
    *p++ = ':';
    ngx_memcpy(p, secret->data, secret->len);

    value.data = ngx_gcs_grant_secret(grant,
                                      ngx_base64_encoded_length(plain.len));
    if (value.data == NULL) {
        return NGX_ERROR;
    }

    ngx_encode_base64(&value, &plain);

    return ngx_gcs_grant_header(grant, req, "Authorization: Basic ", &value);
}


void
ngx_gcs_grant_json_free(json_t *json)
{
    ngx_gcs_credentials_wipe(json);
    json_decref(json);
}
