
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "files.h"


static void files_free(void *p);


const char  *files[TEST_FILES] = {
    TEST_KEY,

    TEST_USER,

    "{\"type\":\"external_account_authorized_user\",\"audience\":"
    "\"//iam.googleapis.com/locations/global/workforcePools/w/providers/q\","
    "\"client_id\":\"1\",\"client_secret\":\"hidden-client\","
    "\"refresh_token\":\"hidden-refresh\","
    "\"token_url\":\"https://sts.googleapis.com/v1/oauthtoken\","
    "\"token_info_url\":\"https://sts.googleapis.com/v1/introspect\"}",

    TEST_IMPERSONATED(TEST_USER),

    TEST_IMPERSONATED(TEST_KEY),

    TEST_IMPERSONATED(TEST_EXTERNAL("", "{\"file\":\"/run/token\"}")),

    TEST_EXTERNAL("\"service_account_impersonation_url\":\"" TEST_TARGET "\","
                  "\"service_account_impersonation\":"
                  "{\"token_lifetime_seconds\":7200},",
                  "{\"file\":\"/run/token\",\"format\":{\"type\":\"json\","
                  "\"subject_token_field_name\":\"id_token\"}}"),

    TEST_EXTERNAL("\"client_id\":\"1\",\"client_secret\":\"hidden-client\","
                  "\"workforce_pool_user_project\":\"9\",",
                  "{\"url\":\"http://169.254.169.254/metadata/identity?a=b\","
                  "\"headers\":{\"Metadata\":\"True\"},"
                  "\"format\":{\"type\":\"text\"}}"),

    TEST_EXTERNAL("",
                  "{\"environment_id\":\"aws1\",\"region_url\":"
                  "\"http://169.254.169.254/latest/meta-data/placement/"
                  "availability-zone\",\"url\":\"http://169.254.169.254/"
                  "latest/meta-data/iam/security-credentials\","
                  "\"imdsv2_session_token_url\":\"http://169.254.169.254/"
                  "latest/api/token\",\"regional_cred_verification_url\":"
                  "\"https://sts.{region}.amazonaws.com?Action="
                  "GetCallerIdentity&Version=2011-06-15\"}"),

    TEST_EXTERNAL("",
                  "{\"executable\":{\"command\":\"/bin/agent --hidden\","
                  "\"timeout_millis\":5000,"
                  "\"output_file\":\"/run/output\"}}")
};


ngx_uint_t  files_freed;


/* the key as it stands in JSON: with \n as two characters */
static char  files_pem[4096];


void
files_make_key(void)
{
    size_t       i, n;
    EVP_PKEY    *key;
    ngx_str_t    text;
    ngx_pool_t  *pool;

    pool = test_pool();
    key = test_rsa(1024);
    text = test_pem(pool, key, TEST_PKCS8);
    EVP_PKEY_free(key);

    for (i = 0, n = 0; i < text.len; i++) {

        if (text.data[i] == '\n') {
            files_pem[n++] = '\\';
            files_pem[n++] = 'n';

        } else {
            files_pem[n++] = text.data[i];
        }
    }

    ngx_destroy_pool(pool);
}


json_t *
files_json(ngx_uint_t file)
{
    char    *text;
    json_t  *json;

    text = test_filled(files[file], files_pem);
    json = json_loads(text, 0, NULL);

    test_check(json != NULL, files[file]);

    free(text);

    return json;
}


void
files_set(json_t *json, const char *path, json_t *value)
{
    char  *name, *text, *save, *next;

    text = strdup(path);
    name = strtok_r(text, ".", &save);

    while ((next = strtok_r(NULL, ".", &save)) != NULL) {
        json = json_object_get(json, name);
        name = next;
    }

    test_check(json_is_object(json), path);

    if (value) {
        json_object_set_new(json, name, value);

    } else {
        json_object_del(json, name);
    }

    free(text);
}


ngx_int_t
files_parse(ngx_pool_t *pool, json_t *json, ngx_gcs_credentials_t *cred,
    ngx_str_t *err)
{
    char       *text;
    ngx_int_t   rc;
    ngx_str_t   file;

    text = json_dumps(json, 0);

    /* with nothing readable behind it */

    file.len = strlen(text);
    file.data = malloc(file.len);
    ngx_memcpy(file.data, text, file.len);

    free(text);

    files_watch(1);

    rc = ngx_gcs_credentials_parse(pool, &file, cred, err);

    files_watch(0);

    free(file.data);

    return rc;
}


void
files_watch(ngx_uint_t on)
{
    json_set_alloc_funcs(malloc, on ? files_free : free);
}


static void
files_free(void *p)
{
    if (p
        && (strncmp(p, "hidden", 6) == 0
            || strncmp(p, "-----BEGIN", 10) == 0))
    {
        files_freed++;
    }

    free(p);
}
