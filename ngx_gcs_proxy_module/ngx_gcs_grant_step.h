
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_GRANT_STEP_H_INCLUDED_
#define _NGX_GCS_GRANT_STEP_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include <jansson.h>

#include "ngx_gcs_credentials_file.h"
#include "ngx_gcs_explain.h"
#include "ngx_gcs_grant.h"


/*
 * The inside of the grant, for the files ngx_gcs_grant*.c alone: each step
 * asks one question, and its answer decides which is the next.
 */


/*
 * request returns as ngx_gcs_grant_request() does, response as
 * ngx_gcs_grant_response(); response gets answers of status 200 only, unless
 * there is a refused, which gets all the others.
 */

struct ngx_gcs_grant_step_s {
    char          *name;         /* who is asked, in messages */
    ngx_uint_t     where;        /* NGX_GCS_EXPLAIN_... */
    ngx_int_t    (*request)(ngx_gcs_grant_t *grant, ngx_gcs_request_t *req);
    ngx_int_t    (*response)(ngx_gcs_grant_t *grant, ngx_gcs_response_t *res);
    ngx_int_t    (*refused)(ngx_gcs_grant_t *grant, ngx_gcs_response_t *res);
};


extern ngx_gcs_grant_step_t  ngx_gcs_grant_jwt;
extern ngx_gcs_grant_step_t  ngx_gcs_grant_refresh;
extern ngx_gcs_grant_step_t  ngx_gcs_grant_metadata;
extern ngx_gcs_grant_step_t  ngx_gcs_grant_iam;


/*
 * The first step of a federation, and of one from AWS, which is NULL if
 * nothing has to be asked there.
 */
ngx_gcs_grant_step_t *ngx_gcs_grant_subject_first(ngx_gcs_grant_t *grant);
ngx_gcs_grant_step_t *ngx_gcs_grant_aws_first(ngx_gcs_grant_t *grant);

/* steps to the keys of a pod or a task on AWS */
extern ngx_gcs_grant_step_t  ngx_gcs_grant_identity;
extern ngx_gcs_grant_step_t  ngx_gcs_grant_assume;
extern ngx_gcs_grant_step_t  ngx_gcs_grant_agent_token;
extern ngx_gcs_grant_step_t  ngx_gcs_grant_agent;

/* milliseconds: an agent on this machine answers at once */
#define NGX_GCS_GRANT_AWS_TIMEOUT  5000

/* on to what of AWS is not known yet */
ngx_int_t ngx_gcs_grant_aws_next(ngx_gcs_grant_t *grant);

/*
 * The result rc of reading AWS's keys: on to what is next, or fails with err,
 * a constant text.
 */
ngx_int_t ngx_gcs_grant_aws_keys(ngx_gcs_grant_t *grant, ngx_int_t rc,
    char *err);

/* the answer of a step that asks for keys in JSON */
ngx_int_t ngx_gcs_grant_keys_response(ngx_gcs_grant_t *grant,
    ngx_gcs_response_t *res);

/* a subject token is there: on to the exchange */
ngx_int_t ngx_gcs_grant_exchange(ngx_gcs_grant_t *grant);

/* makes the subject token from the keys of AWS, as of grant->now */
ngx_int_t ngx_gcs_grant_aws_subject(ngx_gcs_grant_t *grant);

/* the scope of the credential's own token, before any impersonation */
ngx_str_t *ngx_gcs_grant_scope(ngx_gcs_grant_t *grant);

/* grant->token is there: NGX_OK, or NGX_AGAIN and impersonation follows */
ngx_int_t ngx_gcs_grant_granted(ngx_gcs_grant_t *grant);

/* the answer of an OAuth token endpoint: sets grant->token, or fails */
ngx_int_t ngx_gcs_grant_token(ngx_gcs_grant_t *grant,
    ngx_gcs_response_t *res);

/* the member "expires_in", seconds; 0 if it is no positive number */
time_t ngx_gcs_grant_lifetime(json_t *value);

/* the answer of an API that has refused: always fails */
ngx_int_t ngx_gcs_grant_refused(ngx_gcs_grant_t *grant,
    ngx_gcs_response_t *res);

/* there was no answer: fails with the reason, which res->body is then */
ngx_int_t ngx_gcs_grant_unanswered(ngx_gcs_grant_t *grant,
    ngx_gcs_response_t *res);

/*
 * Fails: grant->error becomes text, after the name of who was asked.  rc is
 * returned.
 */
ngx_int_t ngx_gcs_grant_failed(ngx_gcs_grant_t *grant, ngx_int_t rc,
    char *text);

/* the body as JSON, integers as reals; NULL if it is none */
json_t *ngx_gcs_grant_json(ngx_gcs_response_t *res);

/* overwrites all strings in it, and frees it; json may be NULL */
void ngx_gcs_grant_json_free(json_t *json);

/* a string member, or NULL */
const char *ngx_gcs_grant_string(json_t *json, const char *name);

/* whether a token has no byte that could end a header */
ngx_uint_t ngx_gcs_grant_token_valid(const char *p, size_t len);

/* memory for a secret of len bytes, that is wiped with the pool; or NULL */
u_char *ngx_gcs_grant_secret(ngx_gcs_grant_t *grant, size_t len);

/* copies text without white space around; NGX_DECLINED: nothing is left */
ngx_int_t ngx_gcs_grant_trim(ngx_gcs_grant_t *grant, ngx_str_t *text,
    ngx_str_t *value);

/* adds a header of two parts to the request */
ngx_int_t ngx_gcs_grant_header(ngx_gcs_grant_t *grant, ngx_gcs_request_t *req,
    char *name, ngx_str_t *value);

/*
 * Makes the body of a POST from pairs of strings, up to an empty name:
 * "name=value&...", escaped; pairs with an empty value are left out.
 */
ngx_int_t ngx_gcs_grant_form(ngx_gcs_grant_t *grant, ngx_gcs_request_t *req,
    ngx_keyval_t *pairs);

/* adds "Authorization: Basic" of client_id and client_secret */
ngx_int_t ngx_gcs_grant_basic(ngx_gcs_grant_t *grant, ngx_gcs_request_t *req);


#endif /* _NGX_GCS_GRANT_STEP_H_INCLUDED_ */
