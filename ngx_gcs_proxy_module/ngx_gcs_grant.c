
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <jansson.h>
#include <openssl/crypto.h>

#include "ngx_gcs_grant.h"
#include "ngx_gcs_jwt.h"


#define NGX_GCS_GRANT_BODY                                                    \
    "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer"        \
    "&assertion="

/* what an answer's lifetime is if it says none, and at most, seconds */
#define NGX_GCS_GRANT_LIFETIME      3600
#define NGX_GCS_GRANT_LIFETIME_MAX  43200

/* the longest text of an error, and of one word in it, bytes */
#define NGX_GCS_GRANT_ERROR_MAX     300
#define NGX_GCS_GRANT_WORD_MAX      64


static void ngx_gcs_grant_wipe(void *data);
static ngx_int_t ngx_gcs_grant_token(ngx_gcs_grant_t *grant, json_t *json);
static ngx_uint_t ngx_gcs_grant_token_valid(const char *p, size_t len);
static time_t ngx_gcs_grant_lifetime(json_t *value);
static ngx_int_t ngx_gcs_grant_refused(ngx_gcs_grant_t *grant,
    ngx_uint_t status, json_t *json);
static ngx_uint_t ngx_gcs_grant_passing(ngx_uint_t status, const char *error,
    const char *text);
static ngx_uint_t ngx_gcs_grant_passing_word(const char *word);
static u_char *ngx_gcs_grant_quote(u_char *p, u_char *last, const char *text);
static ngx_uint_t ngx_gcs_grant_secret_word(const char *p, size_t len);
static ngx_int_t ngx_gcs_grant_failed(ngx_gcs_grant_t *grant, ngx_int_t rc,
    char *text);
static const char *ngx_gcs_grant_string(json_t *json, const char *name);


ngx_gcs_grant_t *
ngx_gcs_grant_create(ngx_pool_t *pool, ngx_gcs_credentials_t *cred)
{
    ngx_gcs_grant_t  *grant;

    grant = ngx_pcalloc(pool, sizeof(ngx_gcs_grant_t));
    if (grant == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     grant->state = 0;
     *     grant->token = { 0, NULL };
     *     grant->lifetime = 0;
     *     grant->error = { 0, NULL };
     *     grant->retry_after = 0;
     */

    grant->pool = pool;
    grant->cred = cred;

    return grant;
}


ngx_int_t
ngx_gcs_grant_request(ngx_gcs_grant_t *grant, time_t now,
    ngx_gcs_request_t *req)
{
    u_char              *p;
    ngx_str_t            jwt, *header, *body;
    ngx_pool_cleanup_t  *cln;

    ngx_str_set(&grant->error, "no memory or no signature");

    req->headers = ngx_array_create(grant->pool, 1, sizeof(ngx_str_t));
    if (req->headers == NULL) {
        return NGX_ERROR;
    }

    header = ngx_array_push(req->headers);
    if (header == NULL) {
        return NGX_ERROR;
    }

    ngx_str_set(header, "Content-Type: application/x-www-form-urlencoded");

    cln = ngx_pool_cleanup_add(grant->pool, sizeof(ngx_str_t));
    if (cln == NULL) {
        return NGX_ERROR;
    }

    body = cln->data;

    if (ngx_gcs_jwt_assertion(grant->pool, grant->cred, now, &jwt) != NGX_OK) {
        return NGX_ERROR;
    }

    body->len = sizeof(NGX_GCS_GRANT_BODY) - 1 + jwt.len;

    body->data = ngx_pnalloc(grant->pool, body->len);

    if (body->data == NULL) {
        OPENSSL_cleanse(jwt.data, jwt.len);
        return NGX_ERROR;
    }

    cln->handler = ngx_gcs_grant_wipe;

    /* an assertion is made of unreserved characters: nothing to escape */

    p = ngx_cpymem(body->data, NGX_GCS_GRANT_BODY,
                   sizeof(NGX_GCS_GRANT_BODY) - 1);
    ngx_memcpy(p, jwt.data, jwt.len);

    OPENSSL_cleanse(jwt.data, jwt.len);

    ngx_str_set(&req->method, "POST");
    req->url = grant->cred->token_uri;
    req->body = *body;

    ngx_str_null(&grant->error);

    return NGX_OK;
}


static void
ngx_gcs_grant_wipe(void *data)
{
    ngx_str_t  *secret = data;

    OPENSSL_cleanse(secret->data, secret->len);
}


ngx_int_t
ngx_gcs_grant_response(ngx_gcs_grant_t *grant, ngx_gcs_response_t *res)
{
    json_t     *json;
    ngx_int_t   rc;

    ngx_str_null(&grant->token);
    ngx_str_null(&grant->error);

    grant->lifetime = 0;
    grant->retry_after = res->retry_after;

    /* integers as reals, so that a huge one is no syntax error */

    json = NULL;

    if (res->body.len) {
        json = json_loadb((char *) res->body.data, res->body.len,
                          JSON_REJECT_DUPLICATES|JSON_DECODE_INT_AS_REAL,
                          NULL);
    }

    if (res->status == 200 && json_object_get(json, "error") == NULL) {
        rc = ngx_gcs_grant_token(grant, json);

    } else {
        rc = ngx_gcs_grant_refused(grant, res->status, json);
    }

    json_decref(json);

    if (rc == NGX_OK) {
        grant->retry_after = 0;
    }

    return rc;
}


static ngx_int_t
ngx_gcs_grant_token(ngx_gcs_grant_t *grant, json_t *json)
{
    size_t               len;
    json_t              *token, *value;
    ngx_str_t           *secret;
    const char          *type;
    ngx_pool_cleanup_t  *cln;

    if (!json_is_object(json)) {
        return ngx_gcs_grant_failed(grant, NGX_DECLINED, "token endpoint "
                                    "answered 200 without a JSON object");
    }

    token = json_object_get(json, "access_token");

    if (token == NULL && json_object_get(json, "id_token") != NULL) {
        return ngx_gcs_grant_failed(grant, NGX_DECLINED, "token endpoint "
                                    "gave an ID token and no access token, "
                                    "are the scopes right?");
    }

    len = json_string_length(token);

    if (len == 0) {
        return ngx_gcs_grant_failed(grant, NGX_DECLINED, "token endpoint "
                                    "answered 200 without an access token");
    }

    if (!ngx_gcs_grant_token_valid(json_string_value(token), len)) {
        return ngx_gcs_grant_failed(grant, NGX_DECLINED, "token endpoint "
                                    "gave an invalid or too long token");
    }

    type = ngx_gcs_grant_string(json, "token_type");

    if (type && ngx_strcasecmp((u_char *) type, (u_char *) "bearer") != 0) {
        return ngx_gcs_grant_failed(grant, NGX_DECLINED, "token endpoint "
                                    "gave a token of a type other than "
                                    "\"Bearer\"");
    }

    value = json_object_get(json, "expires_in");

    grant->lifetime = ngx_gcs_grant_lifetime(value);

    if (grant->lifetime <= 0) {
        return ngx_gcs_grant_failed(grant, NGX_DECLINED, "token endpoint "
                                    "gave an invalid \"expires_in\"");
    }

    cln = ngx_pool_cleanup_add(grant->pool, sizeof(ngx_str_t));
    if (cln == NULL) {
        return ngx_gcs_grant_failed(grant, NGX_ERROR, "no memory");
    }

    secret = cln->data;

    secret->data = ngx_pnalloc(grant->pool, len);
    if (secret->data == NULL) {
        return ngx_gcs_grant_failed(grant, NGX_ERROR, "no memory");
    }

    cln->handler = ngx_gcs_grant_wipe;

    ngx_memcpy(secret->data, json_string_value(token), len);
    secret->len = len;

    OPENSSL_cleanse((char *) json_string_value(token), len);

    grant->token = *secret;

    return NGX_OK;
}


/* b64token of RFC 6750, section 2.1: no byte that could end a header */

static ngx_uint_t
ngx_gcs_grant_token_valid(const char *p, size_t len)
{
    size_t  i;
    u_char  c, ch;

    if (len > NGX_GCS_GRANT_TOKEN_MAX) {
        return 0;
    }

    for (i = 0; i < len; i++) {
        ch = (u_char) p[i];
        c = (u_char) (ch | 0x20);

        if ((c >= 'a' && c <= 'z') || (ch >= '0' && ch <= '9')) {
            continue;
        }

        if (ch == '\0' || ngx_strchr("-._~+/=", ch) == NULL) {
            return 0;
        }
    }

    return 1;
}


/* a number, or its digits as a string; 0 if it is neither */

static time_t
ngx_gcs_grant_lifetime(json_t *value)
{
    time_t       lifetime;
    const char  *p;

    if (value == NULL) {
        return NGX_GCS_GRANT_LIFETIME;
    }

    if (json_is_number(value)) {

        if (json_number_value(value) >= NGX_GCS_GRANT_LIFETIME_MAX) {
            return NGX_GCS_GRANT_LIFETIME_MAX;
        }

        if (json_number_value(value) < 1) {
            return 0;
        }

        return (time_t) json_number_value(value);
    }

    p = json_string_value(value);

    if (p == NULL) {
        return 0;
    }

    lifetime = 0;

    for ( /* void */ ; *p; p++) {

        if (*p < '0' || *p > '9') {
            return 0;
        }

        lifetime = lifetime * 10 + (*p - '0');

        lifetime = ngx_min(lifetime, NGX_GCS_GRANT_LIFETIME_MAX);
    }

    return lifetime;
}


/*
 * An error has the shape of RFC 6749, {"error":"X","error_description":"X"},
 * or that of Google's APIs, {"error":{"status":"X","message":"X"}}.
 */

static ngx_int_t
ngx_gcs_grant_refused(ngx_gcs_grant_t *grant, ngx_uint_t status, json_t *json)
{
    u_char      *p, *last;
    json_t      *value;
    const char  *error, *text;

    value = json_object_get(json, "error");

    if (json_is_object(value)) {
        error = ngx_gcs_grant_string(value, "status");
        text = ngx_gcs_grant_string(value, "message");

    } else {
        error = json_string_value(value);
        text = ngx_gcs_grant_string(json, "error_description");
    }

    p = ngx_pnalloc(grant->pool, NGX_GCS_GRANT_ERROR_MAX);
    if (p == NULL) {
        return ngx_gcs_grant_failed(grant, NGX_ERROR, "no memory");
    }

    grant->error.data = p;
    last = p + NGX_GCS_GRANT_ERROR_MAX;

    p = ngx_slprintf(p, last, "token endpoint answered %ui", status);

    if (error == NULL && text == NULL) {
        p = ngx_slprintf(p, last, " without a reason");
    }

    if (error) {
        p = ngx_slprintf(p, last, " ");
        p = ngx_gcs_grant_quote(p, ngx_min(p + 100, last), error);
    }

    if (text) {
        p = ngx_slprintf(p, last, error ? ": " : " ");
        p = ngx_gcs_grant_quote(p, last, text);
    }

    grant->error.len = p - grant->error.data;

    if (ngx_gcs_grant_passing(status, error, text)) {
        return NGX_BUSY;
    }

    return NGX_DECLINED;
}


static ngx_uint_t
ngx_gcs_grant_passing(ngx_uint_t status, const char *error, const char *text)
{
    if (status == 408 || status == 429 || (status >= 500 && status <= 599)) {
        return 1;
    }

    return ngx_gcs_grant_passing_word(error)
           || ngx_gcs_grant_passing_word(text);
}


static ngx_uint_t
ngx_gcs_grant_passing_word(const char *word)
{
    return word != NULL
           && (ngx_strcmp(word, "internal_failure") == 0
               || ngx_strcmp(word, "server_error") == 0
               || ngx_strcmp(word, "temporarily_unavailable") == 0);
}


/*
 * Writes text of a stranger in quotes, fit for a log line: one line, ASCII,
 * and no word that could be a token, should the endpoint repeat one.
 */

static u_char *
ngx_gcs_grant_quote(u_char *p, u_char *last, const char *text)
{
    u_char  c;
    size_t  len;

    if (last - p < 2) {
        return p;
    }

    *p++ = '"';
    last--;

    while (*text && p < last) {

        len = strcspn(text, " \t\r\n\"'(),:;<>@?&/");

        if (ngx_gcs_grant_secret_word(text, len)) {
            p = ngx_slprintf(p, last, "...");
            text += len;
            continue;
        }

        do {
            c = (u_char) *text++;

            if (c < ' ' || c >= 0x7f) {
                c = '?';

            } else if (c == '"') {
                c = '\'';
            }

            *p++ = c;

        } while (len-- > 1 && p < last);
    }

    *p++ = '"';

    return p;
}


static ngx_uint_t
ngx_gcs_grant_secret_word(const char *p, size_t len)
{
    if (len > NGX_GCS_GRANT_WORD_MAX) {
        return 1;
    }

    return ngx_strncmp(p, "ya29.", sizeof("ya29.") - 1) == 0
           || ngx_strncmp(p, "eyJ", sizeof("eyJ") - 1) == 0;
}


static ngx_int_t
ngx_gcs_grant_failed(ngx_gcs_grant_t *grant, ngx_int_t rc, char *text)
{
    grant->error.len = ngx_strlen(text);
    grant->error.data = (u_char *) text;

    return rc;
}


static const char *
ngx_gcs_grant_string(json_t *json, const char *name)
{
    return json_string_value(json_object_get(json, name));
}
