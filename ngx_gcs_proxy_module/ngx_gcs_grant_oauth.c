
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_escape.h"
#include "ngx_gcs_grant_step.h"
#include "ngx_gcs_jwt.h"


/*
 * Tokens by a key, a refresh token or the metadata server, and the token of
 * another account by one of these.
 */


#define NGX_GCS_GRANT_TYPE_JWT                                                \
    "urn:ietf:params:oauth:grant-type:jwt-bearer"

#define NGX_GCS_GRANT_ACCOUNTS                                                \
    "/computeMetadata/v1/instance/service-accounts/default/"

/* milliseconds: it is near, or it is not there */
#define NGX_GCS_GRANT_METADATA_TIMEOUT  5000


static ngx_int_t ngx_gcs_grant_jwt_request(ngx_gcs_grant_t *grant,
    ngx_gcs_request_t *req);
static ngx_int_t ngx_gcs_grant_refresh_request(ngx_gcs_grant_t *grant,
    ngx_gcs_request_t *req);
static ngx_int_t ngx_gcs_grant_refresh_response(ngx_gcs_grant_t *grant,
    ngx_gcs_response_t *res);
static ngx_int_t ngx_gcs_grant_metadata_request(ngx_gcs_grant_t *grant,
    ngx_gcs_request_t *req);
static ngx_int_t ngx_gcs_grant_metadata_response(ngx_gcs_grant_t *grant,
    ngx_gcs_response_t *res);
static ngx_int_t ngx_gcs_grant_account_request(ngx_gcs_grant_t *grant,
    ngx_gcs_request_t *req);
static ngx_int_t ngx_gcs_grant_account_response(ngx_gcs_grant_t *grant,
    ngx_gcs_response_t *res);
static ngx_int_t ngx_gcs_grant_metadata_get(ngx_gcs_grant_t *grant,
    ngx_gcs_request_t *req, char *path, ngx_str_t *scopes);


ngx_gcs_grant_step_t  ngx_gcs_grant_jwt = {
    "token endpoint", NGX_GCS_EXPLAIN_OAUTH,
    ngx_gcs_grant_jwt_request,
    ngx_gcs_grant_token,
    NULL
};


ngx_gcs_grant_step_t  ngx_gcs_grant_refresh = {
    "token endpoint", NGX_GCS_EXPLAIN_OAUTH,
    ngx_gcs_grant_refresh_request,
    ngx_gcs_grant_refresh_response,
    NULL
};


ngx_gcs_grant_step_t  ngx_gcs_grant_metadata = {
    "metadata server", NGX_GCS_EXPLAIN_METADATA,
    ngx_gcs_grant_metadata_request,
    ngx_gcs_grant_metadata_response,
    NULL
};


/* the name is good to know, but nothing fails without it */

static ngx_gcs_grant_step_t  ngx_gcs_grant_account = {
    "metadata server", NGX_GCS_EXPLAIN_METADATA,
    ngx_gcs_grant_account_request,
    ngx_gcs_grant_account_response,
    ngx_gcs_grant_account_response
};


/*
 * RFC 7523; but another universe than Google's has no endpoint to exchange
 * the assertion at: there it is signed so as to be the token itself.
 * (https://google.aip.dev/auth/4111)
 */

static ngx_int_t
ngx_gcs_grant_jwt_request(ngx_gcs_grant_t *grant, ngx_gcs_request_t *req)
{
    ngx_str_t     jwt, *scope;
    ngx_keyval_t  pairs[] = {
        { ngx_string("grant_type"), ngx_string(NGX_GCS_GRANT_TYPE_JWT) },
        { ngx_string("assertion"), ngx_null_string },
        { ngx_null_string, ngx_null_string }
    };

    scope = ngx_gcs_grant_scope(grant);

    if (grant->cred->token_uri.len == 0) {

        if (ngx_gcs_jwt_self_signed(grant->pool, grant->cred, scope,
                                    grant->now, &jwt)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        grant->token = jwt;
        grant->lifetime = NGX_GCS_JWT_LIFETIME;

        return NGX_DONE;
    }

    if (ngx_gcs_jwt_assertion(grant->pool, grant->cred, scope, grant->now,
                              &jwt)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    pairs[1].value = jwt;
    req->url = grant->cred->token_uri;

    return ngx_gcs_grant_form(grant, req, pairs);
}


/* RFC 6749, section 6; the STS of a workforce pool wants Basic instead */

static ngx_int_t
ngx_gcs_grant_refresh_request(ngx_gcs_grant_t *grant, ngx_gcs_request_t *req)
{
    ngx_gcs_credentials_t  *cred;
    ngx_keyval_t            pairs[] = {
        { ngx_string("grant_type"), ngx_string("refresh_token") },
        { ngx_string("refresh_token"), ngx_null_string },
        { ngx_string("client_id"), ngx_null_string },
        { ngx_string("client_secret"), ngx_null_string },
        { ngx_string("scope"), ngx_null_string },
        { ngx_null_string, ngx_null_string }
    };

    cred = grant->cred;

    req->url = cred->token_uri;
    pairs[1].value = grant->refresh_token.len ? grant->refresh_token
                                              : cred->refresh_token;

    if (cred->type == NGX_GCS_EXTERNAL_USER) {

        if (ngx_gcs_grant_basic(grant, req) != NGX_OK) {
            return NGX_ERROR;
        }

    } else {
        pairs[2].value = cred->client_id;
        pairs[3].value = cred->client_secret;
    }

    /* what the user did not agree to at the login would be refused */

    if (cred->scope_set && cred->impersonations.nelts == 0) {
        pairs[4].value = cred->scope;
    }

    return ngx_gcs_grant_form(grant, req, pairs);
}


/* the answer may have a new refresh token, and the old one be void */

static ngx_int_t
ngx_gcs_grant_refresh_response(ngx_gcs_grant_t *grant,
    ngx_gcs_response_t *res)
{
    json_t     *json, *value;
    ngx_str_t   text;

    json = ngx_gcs_grant_json(res);
    value = json_object_get(json, "refresh_token");

    text.len = json_string_length(value);
    text.data = (u_char *) json_string_value(value);

    if (text.len <= NGX_GCS_GRANT_REFRESH_MAX && ngx_gcs_aws_word(&text)) {
        (void) ngx_gcs_grant_trim(grant, &text, &grant->refresh_token);
    }

    ngx_gcs_grant_json_free(json);

    return ngx_gcs_grant_token(grant, res);
}


static ngx_int_t
ngx_gcs_grant_metadata_request(ngx_gcs_grant_t *grant, ngx_gcs_request_t *req)
{
    /* Compute Engine ignores the scopes, Cloud Run heeds them */

    return ngx_gcs_grant_metadata_get(grant, req, "token?scopes=",
                                      ngx_gcs_grant_scope(grant));
}


static ngx_int_t
ngx_gcs_grant_metadata_get(ngx_gcs_grant_t *grant, ngx_gcs_request_t *req,
    char *path, ngx_str_t *scopes)
{
    size_t      i;
    u_char     *p;
    ngx_str_t  *host, flavor, list;

    host = &grant->cred->metadata_host;

    list.len = scopes->len;
    list.data = ngx_pstrdup(grant->pool, scopes);

    if (list.len && list.data == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < list.len; i++) {
        if (list.data[i] == ' ') {
            list.data[i] = ',';
        }
    }

    p = ngx_pnalloc(grant->pool,
                    sizeof("http://" NGX_GCS_GRANT_ACCOUNTS) - 1 + host->len
                    + ngx_strlen(path)
                    + ngx_gcs_escape_query_len(list.data, list.len));
    if (p == NULL) {
        return NGX_ERROR;
    }

    req->url.data = p;

    p = ngx_sprintf(p, "http://%V" NGX_GCS_GRANT_ACCOUNTS "%s", host, path);
    p = ngx_gcs_escape_query(p, list.data, list.len);

    req->url.len = p - req->url.data;
    req->timeout = NGX_GCS_GRANT_METADATA_TIMEOUT;
    req->direct = 1;

    ngx_str_set(&req->method, "GET");
    ngx_str_set(&flavor, "Google");

    return ngx_gcs_grant_header(grant, req, "Metadata-Flavor: ", &flavor);
}


static ngx_int_t
ngx_gcs_grant_metadata_response(ngx_gcs_grant_t *grant,
    ngx_gcs_response_t *res)
{
    ngx_int_t  rc;

    if (!res->metadata) {
        return ngx_gcs_grant_failed(grant, NGX_DECLINED, "did not answer "
                                    "with \"Metadata-Flavor: Google\": it is "
                                    "something else");
    }

    rc = ngx_gcs_grant_token(grant, res);

    if (rc == NGX_OK && grant->account.len == 0) {
        grant->held = grant->token;
        grant->held_lifetime = grant->lifetime;
        grant->step = &ngx_gcs_grant_account;
        return NGX_AGAIN;
    }

    return rc;
}


static ngx_int_t
ngx_gcs_grant_account_request(ngx_gcs_grant_t *grant, ngx_gcs_request_t *req)
{
    ngx_str_t  none;

    ngx_str_null(&none);

    return ngx_gcs_grant_metadata_get(grant, req, "email", &none);
}


static ngx_int_t
ngx_gcs_grant_account_response(ngx_gcs_grant_t *grant,
    ngx_gcs_response_t *res)
{
    ngx_str_t  name;

    grant->token = grant->held;
    grant->lifetime = grant->held_lifetime;

    if (res->status == 200 && res->metadata
        && ngx_gcs_grant_trim(grant, &res->body, &name) == NGX_OK
        && name.len <= NGX_GCS_GRANT_ACCOUNT_MAX
        && ngx_gcs_aws_word(&name))
    {
        grant->account = name;
    }

    return NGX_OK;
}
