
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <jansson.h>
#include <openssl/crypto.h>

#include "ngx_gcs_aws.h"
#include "ngx_gcs_crypto.h"
#include "ngx_gcs_escape.h"
#include "ngx_gcs_sign.h"


/* no answer with keys is ever that large, bytes */
#define NGX_GCS_AWS_ANSWER_MAX   65536

#define NGX_GCS_AWS_ASSUME                                                    \
    "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn="
#define NGX_GCS_AWS_ASSUME_NAME   "&RoleSessionName="
#define NGX_GCS_AWS_ASSUME_TOKEN  "&WebIdentityToken="


#define ngx_gcs_aws_blank(ch)                                                 \
    ((ch) == ' ' || (ch) == '\t' || (ch) == '\r' || (ch) == '\n')


static ngx_uint_t ngx_gcs_aws_name(ngx_str_t *text);
static char *ngx_gcs_aws_json_error(json_t *json);
static char *ngx_gcs_aws_json_keys(json_t *json, ngx_gcs_aws_keys_t *keys);
static ngx_int_t ngx_gcs_aws_json_string(json_t *json, const char *name,
    ngx_str_t *value);
static void ngx_gcs_aws_json_wipe(json_t *json);
static ngx_int_t ngx_gcs_aws_copy(ngx_pool_t *pool, ngx_str_t *src,
    ngx_str_t *dst);
static ngx_uint_t ngx_gcs_aws_session_valid(ngx_str_t *name);


ngx_uint_t
ngx_gcs_aws_word(ngx_str_t *text)
{
    u_char  ch;
    size_t  i;

    for (i = 0; i < text->len; i++) {
        ch = text->data[i];

        if (ch <= ' ' || ch >= 0x7f || ch == '"' || ch == '\\') {
            return 0;
        }
    }

    return text->len != 0 && text->len <= NGX_GCS_AWS_WORD_MAX;
}


ngx_int_t
ngx_gcs_aws_check_keys(ngx_gcs_aws_keys_t *keys)
{
    if (!ngx_gcs_aws_name(&keys->access_key_id)
        || !ngx_gcs_aws_word(&keys->secret_access_key)
        || keys->secret_access_key.len > NGX_GCS_SIGN_SECRET_MAX)
    {
        return NGX_DECLINED;
    }

    if (keys->session_token.len && !ngx_gcs_aws_word(&keys->session_token)) {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


/* what IAM calls a unique identifier */

static ngx_uint_t
ngx_gcs_aws_name(ngx_str_t *text)
{
    u_char  c, ch;
    size_t  i;

    for (i = 0; i < text->len; i++) {
        ch = text->data[i];
        c = (u_char) (ch | 0x20);

        if ((c < 'a' || c > 'z') && (ch < '0' || ch > '9') && ch != '_') {
            return 0;
        }
    }

    return text->len != 0 && text->len <= 128;
}


ngx_int_t
ngx_gcs_aws_parse_keys(ngx_pool_t *pool, ngx_str_t *json,
    ngx_gcs_aws_keys_t *keys, char **err)
{
    json_t              *root;
    ngx_int_t            rc;
    ngx_gcs_aws_keys_t   found;

    if (json->len == 0 || json->len > NGX_GCS_AWS_ANSWER_MAX) {
        *err = "the answer is empty or too large";
        return NGX_DECLINED;
    }

    /* integers as reals, so that a huge one is no syntax error */

    root = json_loadb((char *) json->data, json->len,
                      JSON_REJECT_DUPLICATES|JSON_DECODE_INT_AS_REAL, NULL);

    if (!json_is_object(root)) {
        *err = "the answer is not a JSON object";
        json_decref(root);
        return NGX_DECLINED;
    }

    rc = NGX_DECLINED;

    *err = ngx_gcs_aws_json_error(root);

    if (*err == NULL) {
        *err = ngx_gcs_aws_json_keys(root, &found);
    }

    if (*err == NULL) {
        rc = ngx_gcs_aws_copy_keys(pool, &found, keys);
    }

    if (rc == NGX_ERROR) {
        *err = "no memory";
    }

    ngx_gcs_aws_json_wipe(root);
    json_decref(root);

    return rc;
}


/* the metadata service tells of success, the agents of containers do not */

static char *
ngx_gcs_aws_json_error(json_t *json)
{
    json_t      *value;
    const char  *code;

    value = json_object_get(json, "Code");

    if (value == NULL) {
        value = json_object_get(json, "code");
    }

    if (value == NULL) {
        return NULL;
    }

    code = json_string_value(value);

    if (code == NULL) {
        return "\"Code\" in the answer is not a string";
    }

    if (ngx_strcmp(code, "Success") == 0) {
        return NULL;
    }

    if (ngx_strcmp(code, "AssumeRoleUnauthorizedAccess") == 0) {
        return "EC2 may not assume the role of the instance "
               "(AssumeRoleUnauthorizedAccess)";
    }

    return "\"Code\" in the answer is not \"Success\"";
}


static char *
ngx_gcs_aws_json_keys(json_t *json, ngx_gcs_aws_keys_t *keys)
{
    if (ngx_gcs_aws_json_string(json, "AccessKeyId", &keys->access_key_id)
        != NGX_OK)
    {
        return "there is no \"AccessKeyId\" in the answer";
    }

    if (ngx_gcs_aws_json_string(json, "SecretAccessKey",
                                &keys->secret_access_key)
        != NGX_OK)
    {
        return "there is no \"SecretAccessKey\" in the answer";
    }

    if (ngx_gcs_aws_json_string(json, "Token", &keys->session_token)
        == NGX_ERROR)
    {
        return "\"Token\" in the answer is not a string";
    }

    if (ngx_gcs_aws_check_keys(keys) != NGX_OK) {
        return "a key in the answer has an invalid character or length";
    }

    return NULL;
}


/* NGX_DECLINED without a value, be it null, NGX_ERROR for another type */

static ngx_int_t
ngx_gcs_aws_json_string(json_t *json, const char *name, ngx_str_t *value)
{
    json_t  *member;

    ngx_str_null(value);

    member = json_object_get(json, name);

    if (member == NULL || json_is_null(member)) {
        return NGX_DECLINED;
    }

    if (!json_is_string(member)) {
        return NGX_ERROR;
    }

    value->len = json_string_length(member);
    value->data = (u_char *) json_string_value(member);

    return value->len ? NGX_OK : NGX_DECLINED;
}


/* jansson's copies of the strings */

static void
ngx_gcs_aws_json_wipe(json_t *json)
{
    json_t      *value;
    const char  *name;

    json_object_foreach(json, name, value) {
        if (json_is_string(value)) {
            OPENSSL_cleanse((char *) json_string_value(value),
                            json_string_length(value));
        }
    }
}


ngx_int_t
ngx_gcs_aws_copy_keys(ngx_pool_t *pool, ngx_gcs_aws_keys_t *src,
    ngx_gcs_aws_keys_t *dst)
{
    if (ngx_gcs_aws_copy(pool, &src->access_key_id, &dst->access_key_id)
        != NGX_OK
        || ngx_gcs_aws_copy(pool, &src->secret_access_key,
                            &dst->secret_access_key)
           != NGX_OK
        || ngx_gcs_aws_copy(pool, &src->session_token, &dst->session_token)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_aws_copy(ngx_pool_t *pool, ngx_str_t *src, ngx_str_t *dst)
{
    ngx_str_t  *secret;

    ngx_str_null(dst);

    if (src->len == 0) {
        return NGX_OK;
    }

    secret = ngx_gcs_crypto_secret(pool, src->len);
    if (secret == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(secret->data, src->data, src->len);

    *dst = *secret;

    return NGX_OK;
}


ngx_int_t
ngx_gcs_aws_assume_role(ngx_pool_t *pool, ngx_str_t *role_arn,
    ngx_str_t *session_name, ngx_str_t *web_identity_token, ngx_str_t *body)
{
    u_char     *p;
    ngx_str_t   name, token, *form;

    ngx_str_set(&name, NGX_GCS_AWS_SESSION_NAME);

    if (session_name->len) {
        name = *session_name;
    }

    token = *web_identity_token;

    ngx_gcs_aws_trim(&token);

    if (role_arn->len < sizeof("arn:") - 1
        || ngx_strncmp(role_arn->data, "arn:", sizeof("arn:") - 1) != 0
        || !ngx_gcs_aws_word(role_arn)
        || !ngx_gcs_aws_session_valid(&name)
        || !ngx_gcs_aws_word(&token))
    {
        return NGX_DECLINED;
    }

    form = ngx_gcs_crypto_secret(pool, sizeof(NGX_GCS_AWS_ASSUME) - 1
               + ngx_gcs_escape_query_len(role_arn->data, role_arn->len)
               + sizeof(NGX_GCS_AWS_ASSUME_NAME) - 1
               + ngx_gcs_escape_query_len(name.data, name.len)
               + sizeof(NGX_GCS_AWS_ASSUME_TOKEN) - 1
               + ngx_gcs_escape_query_len(token.data, token.len));

    if (form == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(form->data, NGX_GCS_AWS_ASSUME,
                   sizeof(NGX_GCS_AWS_ASSUME) - 1);
    p = ngx_gcs_escape_query(p, role_arn->data, role_arn->len);

    p = ngx_cpymem(p, NGX_GCS_AWS_ASSUME_NAME,
                   sizeof(NGX_GCS_AWS_ASSUME_NAME) - 1);
    p = ngx_gcs_escape_query(p, name.data, name.len);

    p = ngx_cpymem(p, NGX_GCS_AWS_ASSUME_TOKEN,
                   sizeof(NGX_GCS_AWS_ASSUME_TOKEN) - 1);
    (void) ngx_gcs_escape_query(p, token.data, token.len);

    *body = *form;

    return NGX_OK;
}


void
ngx_gcs_aws_trim(ngx_str_t *text)
{
    while (text->len && ngx_gcs_aws_blank(text->data[0])) {
        text->data++;
        text->len--;
    }

    while (text->len && ngx_gcs_aws_blank(text->data[text->len - 1])) {
        text->len--;
    }
}


/* the characters and the length that AWS documents */

static ngx_uint_t
ngx_gcs_aws_session_valid(ngx_str_t *name)
{
    u_char  c, ch;
    size_t  i;

    for (i = 0; i < name->len; i++) {
        ch = name->data[i];
        c = (u_char) (ch | 0x20);

        if ((c >= 'a' && c <= 'z') || (ch >= '0' && ch <= '9')) {
            continue;
        }

        switch (ch) {

        case '_': case '+': case '=': case ',': case '.': case '@':
        case '-':
            continue;

        default:
            return 0;
        }
    }

    return name->len >= 2 && name->len <= 64;
}
