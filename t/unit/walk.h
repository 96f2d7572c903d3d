
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _WALK_H_INCLUDED_
#define _WALK_H_INCLUDED_


#include "files.h"

#include "ngx_gcs_grant.h"


#define WALK_NOW    1700000000

#define WALK_STEPS  16


/* a request that is expected, and the answer to it */

typedef struct {
    const char  *request;     /* "METHOD URL", of a file "FILE PATH" */
    const char  *headers;     /* each with "\n" behind it */

    /*
     * A form is decoded, each field with "\n" behind it; "*" as the value of
     * the last field stands for any.  NULL: it is not looked at.
     */
    const char  *body;

    ngx_uint_t   status;
    const char  *answer;
    ngx_uint_t   metadata;    /* it has "Metadata-Flavor: Google" */
} walk_step_t;


/* the requests of the last walk */
extern ngx_gcs_request_t  walk_requests[WALK_STEPS];

/*
 * Goes all steps, the last one has no request; the last answer gives rc, all
 * others NGX_AGAIN.  NGX_DONE: there is a token without an answer.
 */
void walk(ngx_gcs_grant_t *grant, walk_step_t *steps, ngx_int_t rc,
    const char *what);

/* the same, and then there is this token, the account and no error */
void walk_to(ngx_gcs_credentials_t *cred, walk_step_t *steps,
    const char *token, time_t lifetime, const char *account);

/* one answer; the body may contain anything */
ngx_int_t walk_answer(ngx_gcs_grant_t *grant, ngx_uint_t status,
    const char *body, size_t len, ngx_uint_t metadata);

/* a credential from a file of files.h */
ngx_gcs_credentials_t walk_file(ngx_pool_t *pool, ngx_uint_t file);

/* one more account to impersonate, with up to two delegates or NULL */
void walk_impersonate(ngx_pool_t *pool, ngx_gcs_credentials_t *cred,
    const char *email, const char *delegate, const char *another,
    time_t lifetime);

/*
 * Goes all steps with each allocation failing in turn: never a crash, and
 * every failure says something.
 */
void walk_no_memory(ngx_gcs_credentials_t *cred, walk_step_t *steps);


/* common answers */

#define WALK_TOKEN(token)                                                     \
    "{\"access_token\":\"" token "\",\"expires_in\":3599,"                    \
    "\"token_type\":\"Bearer\"}"

#define WALK_IAM_TOKEN                                                        \
    "{\"accessToken\":\"hidden-target\","                                     \
    "\"expireTime\":\"2023-11-14T22:43:20Z\"}"    /* half an hour */

#define WALK_FORM  "Content-Type: application/x-www-form-urlencoded\n"
#define WALK_JSON  "Content-Type: application/json\n"

#define WALK_STS                                                              \
    "grant_type=urn:ietf:params:oauth:grant-type:token-exchange\n"            \
    "audience=" TEST_AUDIENCE "\n"

#define WALK_STS_ACCESS                                                       \
    "requested_token_type=urn:ietf:params:oauth:token-type:access_token\n"

#define WALK_IAM_BODY(delegates, scope, lifetime)                             \
    "{\"delegates\":[" delegates "],\"scope\":[" scope "],\"lifetime\":\""    \
    lifetime "\"}"

#define WALK_IAM                                                              \
    "POST https://iamcredentials.googleapis.com/v1/projects/-/"               \
    "serviceAccounts/"


#endif /* _WALK_H_INCLUDED_ */
