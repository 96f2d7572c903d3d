
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_grant_step.h"


/*
 * Federation: a token that another identity provider has issued, the subject
 * token, is exchanged for one of Google's.
 * (RFC 8693; https://cloud.google.com/iam/docs/reference/sts/rest/v1/
 * TopLevel/token)
 */


#define NGX_GCS_GRANT_TYPE_EXCHANGE                                           \
    "urn:ietf:params:oauth:grant-type:token-exchange"
#define NGX_GCS_GRANT_TYPE_ACCESS                                             \
    "urn:ietf:params:oauth:token-type:access_token"
#define NGX_GCS_GRANT_TYPE_SAML                                               \
    "urn:ietf:params:oauth:token-type:saml2"


static ngx_int_t ngx_gcs_grant_subject_request(ngx_gcs_grant_t *grant,
    ngx_gcs_request_t *req);
static ngx_int_t ngx_gcs_grant_subject_response(ngx_gcs_grant_t *grant,
    ngx_gcs_response_t *res);
static ngx_int_t ngx_gcs_grant_subject_member(ngx_gcs_grant_t *grant,
    ngx_gcs_response_t *res);
static ngx_int_t ngx_gcs_grant_subject_output(ngx_gcs_grant_t *grant,
    ngx_gcs_response_t *res);
static ngx_int_t ngx_gcs_grant_subject_set(ngx_gcs_grant_t *grant,
    const char *value, size_t len);
static ngx_int_t ngx_gcs_grant_sts_request(ngx_gcs_grant_t *grant,
    ngx_gcs_request_t *req);


static ngx_gcs_grant_step_t  ngx_gcs_grant_subject = {
    "subject token", NGX_GCS_EXPLAIN_SUBJECT,
    ngx_gcs_grant_subject_request,
    ngx_gcs_grant_subject_response,
    NULL
};


static ngx_gcs_grant_step_t  ngx_gcs_grant_sts = {
    "security token service", NGX_GCS_EXPLAIN_STS,
    ngx_gcs_grant_sts_request,
    ngx_gcs_grant_token,
    NULL
};


ngx_gcs_grant_step_t *
ngx_gcs_grant_subject_first(ngx_gcs_grant_t *grant)
{
    ngx_gcs_grant_step_t  *step;

    if (grant->cred->subject.from != NGX_GCS_SUBJECT_AWS) {
        return &ngx_gcs_grant_subject;
    }

    step = ngx_gcs_grant_aws_first(grant);

    /* perhaps all is in the environment */

    return step ? step : &ngx_gcs_grant_sts;
}


/* asked for every time: whoever issues it also renews it */

static ngx_int_t
ngx_gcs_grant_subject_request(ngx_gcs_grant_t *grant, ngx_gcs_request_t *req)
{
    ngx_gcs_subject_t  *subject;

    subject = &grant->cred->subject;

    if (subject->from != NGX_GCS_SUBJECT_URL) {
        req->url = subject->file;
        return NGX_OK;
    }

    ngx_str_set(&req->method, "GET");

    req->url = subject->url;
    req->headers = subject->headers;
    req->direct = ngx_gcs_credentials_url_local(&subject->url);

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_grant_subject_response(ngx_gcs_grant_t *grant,
    ngx_gcs_response_t *res)
{
    ngx_int_t           rc;
    ngx_gcs_subject_t  *subject;

    subject = &grant->cred->subject;

    if (subject->from == NGX_GCS_SUBJECT_OUTPUT) {
        return ngx_gcs_grant_subject_output(grant, res);
    }

    if (subject->member.len) {
        return ngx_gcs_grant_subject_member(grant, res);
    }

    rc = ngx_gcs_grant_trim(grant, &res->body, &grant->subject_token);

    if (rc == NGX_DECLINED) {
        grant->word = "invalid_subject_token";
        return ngx_gcs_grant_failed(grant, NGX_DECLINED, "is empty");
    }

    return (rc == NGX_OK) ? ngx_gcs_grant_exchange(grant)
                          : ngx_gcs_grant_failed(grant, rc, "no memory");
}


static ngx_int_t
ngx_gcs_grant_subject_member(ngx_gcs_grant_t *grant, ngx_gcs_response_t *res)
{
    char       *name;
    json_t     *json, *value;
    ngx_int_t   rc;
    ngx_str_t  *member;

    member = &grant->cred->subject.member;

    name = ngx_pnalloc(grant->pool, member->len + 1);
    if (name == NULL) {
        return ngx_gcs_grant_failed(grant, NGX_ERROR, "no memory");
    }

    *ngx_cpymem(name, member->data, member->len) = '\0';

    json = ngx_gcs_grant_json(res);
    value = json_object_get(json, name);

    rc = ngx_gcs_grant_subject_set(grant, json_string_value(value),
                                   json_string_length(value));
    ngx_gcs_grant_json_free(json);

    return rc;
}


/* what a program has written for clients of Google: AIP-4117 */

static ngx_int_t
ngx_gcs_grant_subject_output(ngx_gcs_grant_t *grant, ngx_gcs_response_t *res)
{
    char        *what;
    json_t      *json, *value;
    ngx_int_t    rc;
    const char  *type;

    json = ngx_gcs_grant_json(res);
    type = ngx_gcs_grant_string(json, "token_type");

    what = NULL;

    if (json_number_value(json_object_get(json, "version")) != 1
        || json_object_get(json, "success") == NULL)
    {
        what = "is not the output of version 1 of an executable";

    } else if (!json_is_true(json_object_get(json, "success"))) {
        what = "is an error: the executable has failed";

    } else if (json_number_value(json_object_get(json, "expiration_time"))
               <= (double) grant->now)
    {
        what = "has expired: the executable must renew its output file";
    }

    if (what) {
        ngx_gcs_grant_json_free(json);
        grant->word = "invalid_subject_token";
        return ngx_gcs_grant_failed(grant, NGX_DECLINED, what);
    }

    value = json_object_get(json,
                            (type
                             && ngx_strcmp(type, NGX_GCS_GRANT_TYPE_SAML) == 0)
                            ? "saml_response" : "id_token");

    rc = ngx_gcs_grant_subject_set(grant, json_string_value(value),
                                   json_string_length(value));
    ngx_gcs_grant_json_free(json);

    return rc;
}


static ngx_int_t
ngx_gcs_grant_subject_set(ngx_gcs_grant_t *grant, const char *value,
    size_t len)
{
    if (len == 0) {
        grant->word = "invalid_subject_token";
        return ngx_gcs_grant_failed(grant, NGX_DECLINED, "is not in the "
                                    "expected member of a JSON object");
    }

    grant->subject_token.len = len;
    grant->subject_token.data = ngx_gcs_grant_secret(grant, len);

    if (grant->subject_token.data == NULL) {
        return ngx_gcs_grant_failed(grant, NGX_ERROR, "no memory");
    }

    ngx_memcpy(grant->subject_token.data, value, len);

    return ngx_gcs_grant_exchange(grant);
}


ngx_int_t
ngx_gcs_grant_exchange(ngx_gcs_grant_t *grant)
{
    grant->step = &ngx_gcs_grant_sts;

    return NGX_AGAIN;
}


static ngx_int_t
ngx_gcs_grant_sts_request(ngx_gcs_grant_t *grant, ngx_gcs_request_t *req)
{
    ngx_str_t               options, *project;
    ngx_gcs_credentials_t  *cred;
    ngx_keyval_t            pairs[] = {
        { ngx_string("grant_type"), ngx_string(NGX_GCS_GRANT_TYPE_EXCHANGE) },
        { ngx_string("audience"), ngx_null_string },
        { ngx_string("scope"), ngx_null_string },
        { ngx_string("requested_token_type"),
          ngx_string(NGX_GCS_GRANT_TYPE_ACCESS) },
        { ngx_string("subject_token_type"), ngx_null_string },
        { ngx_string("subject_token"), ngx_null_string },
        { ngx_string("options"), ngx_null_string },
        { ngx_null_string, ngx_null_string }
    };

    cred = grant->cred;

    if (cred->subject.from == NGX_GCS_SUBJECT_AWS
        && ngx_gcs_grant_aws_subject(grant) != NGX_OK)
    {
        return NGX_ERROR;
    }

    pairs[1].value = cred->audience;
    pairs[2].value = *ngx_gcs_grant_scope(grant);
    pairs[4].value = cred->subject.type;
    pairs[5].value = grant->subject_token;

    project = &cred->user_project;

    if (cred->client_id.len) {

        if (ngx_gcs_grant_basic(grant, req) != NGX_OK) {
            return NGX_ERROR;
        }

    } else if (project->len) {

        /* a project has no character that JSON would quote */

        options.len = sizeof("{\"userProject\":\"\"}") - 1 + project->len;

        options.data = ngx_pnalloc(grant->pool, options.len);
        if (options.data == NULL) {
            return NGX_ERROR;
        }

        ngx_sprintf(options.data, "{\"userProject\":\"%V\"}", project);

        pairs[6].value = options;
    }

    req->url = cred->sts_uri;

    return ngx_gcs_grant_form(grant, req, pairs);
}
