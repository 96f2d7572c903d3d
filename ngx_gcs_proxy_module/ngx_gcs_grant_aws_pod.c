
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_grant_step.h"


/* the keys of a pod or a task on AWS, which is not that of its node */


static ngx_int_t ngx_gcs_grant_identity_request(ngx_gcs_grant_t *grant,
    ngx_gcs_request_t *req);
static ngx_int_t ngx_gcs_grant_identity_response(ngx_gcs_grant_t *grant,
    ngx_gcs_response_t *res);
static ngx_int_t ngx_gcs_grant_assume_request(ngx_gcs_grant_t *grant,
    ngx_gcs_request_t *req);
static ngx_int_t ngx_gcs_grant_assume_response(ngx_gcs_grant_t *grant,
    ngx_gcs_response_t *res);
static ngx_int_t ngx_gcs_grant_agent_token_request(ngx_gcs_grant_t *grant,
    ngx_gcs_request_t *req);
static ngx_int_t ngx_gcs_grant_agent_token_response(ngx_gcs_grant_t *grant,
    ngx_gcs_response_t *res);
static ngx_int_t ngx_gcs_grant_agent_request(ngx_gcs_grant_t *grant,
    ngx_gcs_request_t *req);


/* the file of a web identity, and what AWS's STS gives for it */

ngx_gcs_grant_step_t  ngx_gcs_grant_identity = {
    "AWS web identity token", NGX_GCS_EXPLAIN_AWS,
    ngx_gcs_grant_identity_request,
    ngx_gcs_grant_identity_response,
    NULL
};


ngx_gcs_grant_step_t  ngx_gcs_grant_assume = {
    "AWS STS", NGX_GCS_EXPLAIN_ASSUME,
    ngx_gcs_grant_assume_request,
    ngx_gcs_grant_assume_response,
    ngx_gcs_grant_assume_response
};


/* the file with the agent's authorization, and the agent */

ngx_gcs_grant_step_t  ngx_gcs_grant_agent_token = {
    "AWS container authorization token", NGX_GCS_EXPLAIN_AWS,
    ngx_gcs_grant_agent_token_request,
    ngx_gcs_grant_agent_token_response,
    NULL
};


ngx_gcs_grant_step_t  ngx_gcs_grant_agent = {
    "AWS container credentials", NGX_GCS_EXPLAIN_AGENT,
    ngx_gcs_grant_agent_request,
    ngx_gcs_grant_keys_response,
    NULL
};


static ngx_int_t
ngx_gcs_grant_identity_request(ngx_gcs_grant_t *grant, ngx_gcs_request_t *req)
{
    req->url = grant->cred->aws->web_identity_token_file;

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_grant_identity_response(ngx_gcs_grant_t *grant,
    ngx_gcs_response_t *res)
{
    ngx_int_t  rc;

    rc = ngx_gcs_grant_trim(grant, &res->body, &grant->web_identity_token);

    if (rc == NGX_OK) {
        return ngx_gcs_grant_aws_next(grant);
    }

    return ngx_gcs_grant_failed(grant, rc, "is empty");
}


static ngx_int_t
ngx_gcs_grant_assume_request(ngx_gcs_grant_t *grant, ngx_gcs_request_t *req)
{
    ngx_str_t                   type;
    ngx_gcs_aws_environment_t  *aws;

    aws = grant->cred->aws;

    if (ngx_gcs_aws_assume_role(grant->pool, &aws->role_arn,
                                &aws->role_session_name,
                                &grant->web_identity_token, &req->body)
        != NGX_OK)
    {
        ngx_str_set(&grant->error, "AWS_ROLE_ARN, AWS_ROLE_SESSION_NAME or "
                                   "the web identity token is invalid");
        return NGX_ERROR;
    }

    ngx_str_set(&req->method, "POST");
    ngx_str_set(&type, "application/x-www-form-urlencoded");

    req->url = aws->sts_url;

    if (req->url.len == 0) {
        req->url.data = ngx_pnalloc(grant->pool,
                                    sizeof("https://sts..amazonaws.com.cn/")
                                    + grant->region.len);
        if (req->url.data == NULL) {
            return NGX_ERROR;
        }

        req->url.len = ngx_sprintf(req->url.data, "https://sts.%V.amazonaws."
                                   "com%s/", &grant->region,
                                   ngx_strncmp(grant->region.data, "cn-", 3)
                                   ? "" : ".cn")
                       - req->url.data;
    }

    return ngx_gcs_grant_header(grant, req, "Content-Type: ", &type);
}


/* errors, too, are told in XML */

static ngx_int_t
ngx_gcs_grant_assume_response(ngx_gcs_grant_t *grant, ngx_gcs_response_t *res)
{
    char               *err;
    ngx_int_t           rc;
    ngx_gcs_explain_t  *explain;

    if (res->status == 0) {
        return ngx_gcs_grant_unanswered(grant, res);
    }

    rc = ngx_gcs_aws_parse_assumed(grant->pool, &res->body, &grant->keys,
                                   &err);

    if (rc == NGX_OK && res->status != 200) {
        rc = NGX_DECLINED;
        err = "unexpected status";
    }

    if (rc != NGX_DECLINED) {
        return ngx_gcs_grant_aws_keys(grant, rc, err);
    }

    ngx_memzero(&grant->keys, sizeof(ngx_gcs_aws_keys_t));

    rc = ngx_gcs_grant_aws_keys(grant, rc, err);

    /* err has the remedy already */

    explain = ngx_gcs_explain(NGX_GCS_EXPLAIN_ASSUME, res->status, NULL,
                              NULL);

    if (explain) {
        grant->word = explain->word;
    }

    return (res->status >= 500 || res->status == 429) ? NGX_BUSY : rc;
}


static ngx_int_t
ngx_gcs_grant_agent_token_request(ngx_gcs_grant_t *grant,
    ngx_gcs_request_t *req)
{
    req->url = grant->cred->aws->container_token_file;

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_grant_agent_token_response(ngx_gcs_grant_t *grant,
    ngx_gcs_response_t *res)
{
    size_t      i;
    ngx_int_t   rc;
    ngx_str_t  *token;

    token = &grant->container_token;

    rc = ngx_gcs_grant_trim(grant, &res->body, token);

    if (rc != NGX_OK) {
        return ngx_gcs_grant_failed(grant, rc, "is empty");
    }

    /* it may have a space, "Basic ..." */

    for (i = 0; i < token->len; i++) {
        if (token->data[i] < ' ' || token->data[i] >= 0x7f) {
            ngx_str_null(token);
            return ngx_gcs_grant_failed(grant, NGX_DECLINED,
                                        "has an invalid character");
        }
    }

    return ngx_gcs_grant_aws_next(grant);
}


static ngx_int_t
ngx_gcs_grant_agent_request(ngx_gcs_grant_t *grant, ngx_gcs_request_t *req)
{
    ngx_str_set(&req->method, "GET");

    req->url = grant->cred->aws->container_url;
    req->timeout = NGX_GCS_GRANT_AWS_TIMEOUT;
    req->direct = 1;

    if (grant->container_token.len == 0) {
        return NGX_OK;
    }

    return ngx_gcs_grant_header(grant, req, "Authorization: ",
                                &grant->container_token);
}
