
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _FILES_H_INCLUDED_
#define _FILES_H_INCLUDED_


#include "shim.h"

#include "ngx_gcs_credentials.h"


/*
 * Credential files of every type, as Google's tools write them.  All secrets
 * in them have "hidden" in it, which must appear in no message, and be wiped
 * from all memory.
 */


#define TEST_AUDIENCE                                                         \
    "//iam.googleapis.com/projects/123/locations/global/"                     \
    "workloadIdentityPools/p/providers/q"

#define TEST_TARGET                                                           \
    "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/"    \
    "target@demo.iam.gserviceaccount.com:generateAccessToken"

#define TEST_KEY                                                              \
    "{\"type\":\"service_account\",\"project_id\":\"demo\","                  \
    "\"private_key_id\":\"01\",\"private_key\":\"$\","                        \
    "\"client_email\":\"reader@demo.iam.gserviceaccount.com\","               \
    "\"client_id\":\"1\",\"token_uri\":\"https://oauth2.googleapis.com/"      \
    "token\",\"universe_domain\":\"googleapis.com\"}"

#define TEST_USER                                                             \
    "{\"type\":\"authorized_user\",\"account\":\"\","                         \
    "\"client_id\":\"1.apps.example\",\"client_secret\":\"hidden-client\","   \
    "\"refresh_token\":\"hidden-refresh\",\"quota_project_id\":\"billed\","   \
    "\"universe_domain\":\"googleapis.com\"}"

#define TEST_EXTERNAL(more, source)                                           \
    "{\"type\":\"external_account\",\"audience\":\"" TEST_AUDIENCE "\","      \
    "\"subject_token_type\":\"urn:ietf:params:oauth:token-type:jwt\","        \
    "\"token_url\":\"https://sts.googleapis.com/v1/token\"," more             \
    "\"universe_domain\":\"googleapis.com\",\"credential_source\":" source "}"

#define TEST_IMPERSONATED(source)                                             \
    "{\"type\":\"impersonated_service_account\",\"delegates\":[],"            \
    "\"service_account_impersonation_url\":\"" TEST_TARGET "\","              \
    "\"source_credentials\":" source "}"


enum {
    TEST_SERVICE_ACCOUNT = 0,
    TEST_AUTHORIZED_USER,
    TEST_EXTERNAL_USER,
    TEST_IMPERSONATED_USER,
    TEST_IMPERSONATED_KEY,
    TEST_IMPERSONATED_EXTERNAL,
    TEST_EXTERNAL_FILE,
    TEST_EXTERNAL_URL,
    TEST_EXTERNAL_AWS,
    TEST_EXTERNAL_OUTPUT,
    TEST_FILES
};


/* each with "$" instead of the private key */
extern const char  *files[TEST_FILES];

/* strings that jansson has freed with a secret at their beginning */
extern ngx_uint_t  files_freed;

/* whether to look at what jansson frees */
void files_watch(ngx_uint_t on);

/* makes the key of all files */
void files_make_key(void);

/* the file as JSON, to be changed and freed */
json_t *files_json(ngx_uint_t file);

/* value is taken over; NULL removes what is at the path, "a.b" */
void files_set(json_t *json, const char *path, json_t *value);

/* reads the file as text, and looks at what jansson frees then */
ngx_int_t files_parse(ngx_pool_t *pool, json_t *json,
    ngx_gcs_credentials_t *cred, ngx_str_t *err);


#endif /* _FILES_H_INCLUDED_ */
