
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_grant_step.h"


/*
 * The keys of a workload on AWS, from where its own clients take them:
 * the environment, a web identity (IRSA of EKS), the agent of a container
 * (Pod Identity of EKS, ECS), the metadata service of the instance.  A pod
 * that has an identity of its own must not use that of its node, so the last
 * is asked for keys only if none of the others is set up.
 */


/*
 * Milliseconds.  The answer with the session token does not pass more hops
 * than the instance allows, so from a container it may never come.
 */
#define NGX_GCS_GRANT_SESSION_TIMEOUT  2000


static ngx_gcs_grant_step_t *ngx_gcs_grant_aws_step(ngx_gcs_grant_t *grant);
static ngx_int_t ngx_gcs_grant_aws_get(ngx_gcs_grant_t *grant,
    ngx_gcs_request_t *req, ngx_str_t *url, ngx_str_t *role);
static ngx_int_t ngx_gcs_grant_aws_text(ngx_gcs_grant_t *grant,
    ngx_gcs_response_t *res, ngx_str_t *value, char *what);

static ngx_int_t ngx_gcs_grant_session_request(ngx_gcs_grant_t *grant,
    ngx_gcs_request_t *req);
static ngx_int_t ngx_gcs_grant_session_response(ngx_gcs_grant_t *grant,
    ngx_gcs_response_t *res);
static ngx_int_t ngx_gcs_grant_session_refused(ngx_gcs_grant_t *grant,
    ngx_gcs_response_t *res);
static ngx_int_t ngx_gcs_grant_region_request(ngx_gcs_grant_t *grant,
    ngx_gcs_request_t *req);
static ngx_int_t ngx_gcs_grant_region_response(ngx_gcs_grant_t *grant,
    ngx_gcs_response_t *res);
static ngx_int_t ngx_gcs_grant_role_request(ngx_gcs_grant_t *grant,
    ngx_gcs_request_t *req);
static ngx_int_t ngx_gcs_grant_role_response(ngx_gcs_grant_t *grant,
    ngx_gcs_response_t *res);
static ngx_int_t ngx_gcs_grant_instance_request(ngx_gcs_grant_t *grant,
    ngx_gcs_request_t *req);


/* the session token of version 2 of the metadata service */

static ngx_gcs_grant_step_t  ngx_gcs_grant_session = {
    "AWS metadata service", NGX_GCS_EXPLAIN_AWS,
    ngx_gcs_grant_session_request,
    ngx_gcs_grant_session_response,
    ngx_gcs_grant_session_refused
};


static ngx_gcs_grant_step_t  ngx_gcs_grant_region = {
    "AWS metadata service", NGX_GCS_EXPLAIN_AWS,
    ngx_gcs_grant_region_request,
    ngx_gcs_grant_region_response,
    NULL
};


static ngx_gcs_grant_step_t  ngx_gcs_grant_role = {
    "AWS metadata service", NGX_GCS_EXPLAIN_AWS,
    ngx_gcs_grant_role_request,
    ngx_gcs_grant_role_response,
    NULL
};


static ngx_gcs_grant_step_t  ngx_gcs_grant_instance = {
    "AWS metadata service", NGX_GCS_EXPLAIN_AWS,
    ngx_gcs_grant_instance_request,
    ngx_gcs_grant_keys_response,
    NULL
};


ngx_gcs_grant_step_t *
ngx_gcs_grant_aws_first(ngx_gcs_grant_t *grant)
{
    ngx_gcs_aws_environment_t  *aws;

    aws = grant->cred->aws;

    grant->region = aws->region;
    grant->container_token = aws->container_token;
    grant->keys = aws->keys;

    return ngx_gcs_grant_aws_step(grant);
}


/* what is not known yet; at the end there is the exchange */

static ngx_gcs_grant_step_t *
ngx_gcs_grant_aws_step(ngx_gcs_grant_t *grant)
{
    ngx_uint_t                  identity, agent, instance;
    ngx_gcs_subject_t          *subject;
    ngx_gcs_aws_environment_t  *aws;

    aws = grant->cred->aws;
    subject = &grant->cred->subject;

    identity = 0;
    agent = 0;
    instance = 0;

    if (grant->keys.access_key_id.len == 0) {

        if (aws->web_identity_token_file.len && aws->role_arn.len) {
            identity = 1;

        } else if (aws->container_url.len) {
            agent = 1;

        } else {
            instance = 1;
        }
    }

    if ((grant->region.len == 0 || instance)
        && subject->session_url.len
        && grant->session.len == 0
        && !grant->sessionless)
    {
        return &ngx_gcs_grant_session;
    }

    if (grant->region.len == 0) {
        return &ngx_gcs_grant_region;
    }

    if (identity) {
        return grant->web_identity_token.len ? &ngx_gcs_grant_assume
                                             : &ngx_gcs_grant_identity;
    }

    if (agent) {
        return (grant->container_token.len == 0
                && aws->container_token_file.len)
               ? &ngx_gcs_grant_agent_token : &ngx_gcs_grant_agent;
    }

    if (instance) {
        return grant->role.len ? &ngx_gcs_grant_instance
                               : &ngx_gcs_grant_role;
    }

    return NULL;
}


ngx_int_t
ngx_gcs_grant_aws_next(ngx_gcs_grant_t *grant)
{
    ngx_gcs_grant_step_t  *step;

    step = ngx_gcs_grant_aws_step(grant);

    if (step == NULL) {
        return ngx_gcs_grant_exchange(grant);
    }

    grant->step = step;

    return NGX_AGAIN;
}


/* signed when it is sent: it is valid for minutes */

ngx_int_t
ngx_gcs_grant_aws_subject(ngx_gcs_grant_t *grant)
{
    ngx_int_t               rc;
    ngx_gcs_credentials_t  *cred;

    cred = grant->cred;

    rc = ngx_gcs_aws_subject_token(grant->pool, &grant->keys, &grant->region,
                                   &cred->subject.verification_url,
                                   &cred->audience, grant->now,
                                   &grant->subject_token);

    if (rc == NGX_DECLINED) {
        ngx_str_set(&grant->error, "AWS keys, region or verification URL "
                                   "have an invalid character");
    }

    return (rc == NGX_OK) ? NGX_OK : NGX_ERROR;
}


/* a request to the metadata service, role follows the URL if it is given */

static ngx_int_t
ngx_gcs_grant_aws_get(ngx_gcs_grant_t *grant, ngx_gcs_request_t *req,
    ngx_str_t *url, ngx_str_t *role)
{
    ngx_str_set(&req->method, "GET");

    req->url = *url;
    req->timeout = NGX_GCS_GRANT_AWS_TIMEOUT;
    req->direct = 1;

    if (role) {
        req->url.data = ngx_pnalloc(grant->pool, url->len + 1 + role->len);
        if (req->url.data == NULL) {
            return NGX_ERROR;
        }

        req->url.len = ngx_sprintf(req->url.data, "%V%s%V", url,
                                   url->data[url->len - 1] == '/' ? "" : "/",
                                   role)
                       - req->url.data;
    }

    if (grant->session.len == 0) {
        return NGX_OK;
    }

    return ngx_gcs_grant_header(grant, req, "X-aws-ec2-metadata-token: ",
                                &grant->session);
}


/* a short text of the metadata service that goes into a header or a URL */

static ngx_int_t
ngx_gcs_grant_aws_text(ngx_gcs_grant_t *grant, ngx_gcs_response_t *res,
    ngx_str_t *value, char *what)
{
    ngx_int_t  rc;
    ngx_str_t  text;

    rc = ngx_gcs_grant_trim(grant, &res->body, &text);

    if (rc == NGX_ERROR) {
        return ngx_gcs_grant_failed(grant, NGX_ERROR, "no memory");
    }

    if (rc != NGX_OK || text.len > 4096 || !ngx_gcs_aws_word(&text)) {
        return ngx_gcs_grant_failed(grant, NGX_DECLINED, what);
    }

    *value = text;

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_grant_session_request(ngx_gcs_grant_t *grant, ngx_gcs_request_t *req)
{
    ngx_str_t  ttl;

    ngx_str_set(&req->method, "PUT");
    ngx_str_set(&ttl, "300");

    req->url = grant->cred->subject.session_url;
    req->timeout = NGX_GCS_GRANT_SESSION_TIMEOUT;
    req->direct = 1;

    return ngx_gcs_grant_header(grant, req,
                                "X-aws-ec2-metadata-token-ttl-seconds: ",
                                &ttl);
}


static ngx_int_t
ngx_gcs_grant_session_response(ngx_gcs_grant_t *grant,
    ngx_gcs_response_t *res)
{
    ngx_int_t  rc;

    rc = ngx_gcs_grant_aws_text(grant, res, &grant->session,
                                "gave no valid session token");

    return (rc == NGX_OK) ? ngx_gcs_grant_aws_next(grant) : rc;
}


/* version 1 of the service, or an answer that is lost on the way here */

static ngx_int_t
ngx_gcs_grant_session_refused(ngx_gcs_grant_t *grant, ngx_gcs_response_t *res)
{
    grant->sessionless = 1;

    return ngx_gcs_grant_aws_next(grant);
}


static ngx_int_t
ngx_gcs_grant_region_request(ngx_gcs_grant_t *grant, ngx_gcs_request_t *req)
{
    ngx_str_t  *url;

    url = &grant->cred->subject.region_url;

    if (url->len == 0) {
        grant->word = "no_aws_role";
        ngx_str_set(&grant->error, "no AWS region is known; set AWS_REGION "
                                   "in the environment of nginx");
        return NGX_ERROR;
    }

    return ngx_gcs_grant_aws_get(grant, req, url, NULL);
}


static ngx_int_t
ngx_gcs_grant_region_response(ngx_gcs_grant_t *grant, ngx_gcs_response_t *res)
{
    ngx_int_t  rc;
    ngx_str_t  zone;

    rc = ngx_gcs_grant_aws_text(grant, res, &zone,
                                "gave no valid availability zone");
    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_gcs_aws_region(&zone, &grant->region) != NGX_OK) {
        ngx_str_null(&grant->region);
        return ngx_gcs_grant_failed(grant, NGX_DECLINED,
                                    "gave no valid availability zone");
    }

    return ngx_gcs_grant_aws_next(grant);
}


static ngx_int_t
ngx_gcs_grant_role_request(ngx_gcs_grant_t *grant, ngx_gcs_request_t *req)
{
    ngx_str_t  *url;

    url = &grant->cred->subject.url;

    if (url->len == 0) {
        grant->word = "no_aws_role";
        ngx_str_set(&grant->error, "no AWS keys are in the environment of "
                                   "nginx, and \"credential_source\" has no "
                                   "\"url\" to ask for them");
        return NGX_ERROR;
    }

    return ngx_gcs_grant_aws_get(grant, req, url, NULL);
}


static ngx_int_t
ngx_gcs_grant_role_response(ngx_gcs_grant_t *grant, ngx_gcs_response_t *res)
{
    u_char     *p;
    ngx_int_t   rc;

    rc = ngx_gcs_grant_aws_text(grant, res, &grant->role,
                                "gave no valid name of a role");
    if (rc != NGX_OK) {
        return rc;
    }

    /* it becomes a part of a URL; IAM allows none of these in a name */

    for (p = grant->role.data; p < grant->role.data + grant->role.len; p++) {
        if (ngx_strchr("/?#%", *p)) {
            ngx_str_null(&grant->role);
            return ngx_gcs_grant_failed(grant, NGX_DECLINED,
                                        "gave no valid name of a role");
        }
    }

    return ngx_gcs_grant_aws_next(grant);
}


static ngx_int_t
ngx_gcs_grant_instance_request(ngx_gcs_grant_t *grant, ngx_gcs_request_t *req)
{
    return ngx_gcs_grant_aws_get(grant, req, &grant->cred->subject.url,
                                 &grant->role);
}


ngx_int_t
ngx_gcs_grant_keys_response(ngx_gcs_grant_t *grant, ngx_gcs_response_t *res)
{
    char       *err;
    ngx_int_t   rc;

    rc = ngx_gcs_aws_parse_keys(grant->pool, &res->body, &grant->keys, &err);

    return ngx_gcs_grant_aws_keys(grant, rc, err);
}


ngx_int_t
ngx_gcs_grant_aws_keys(ngx_gcs_grant_t *grant, ngx_int_t rc, char *err)
{
    u_char  *p;

    if (rc == NGX_OK) {
        return ngx_gcs_grant_aws_next(grant);
    }

    if (rc == NGX_ERROR) {
        return ngx_gcs_grant_failed(grant, NGX_ERROR, "no memory");
    }

    p = ngx_pnalloc(grant->pool, NGX_GCS_GRANT_ERROR_MAX);
    if (p == NULL) {
        return ngx_gcs_grant_failed(grant, NGX_ERROR, "no memory");
    }

    *ngx_snprintf(p, NGX_GCS_GRANT_ERROR_MAX - 1, "gave no keys: %s", err)
        = '\0';

    return ngx_gcs_grant_failed(grant, NGX_DECLINED, (char *) p);
}
