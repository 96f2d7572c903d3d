
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_grant_step.h"


/* what an answer's lifetime is if it says none, and at most, seconds */
#define NGX_GCS_GRANT_LIFETIME      3600
#define NGX_GCS_GRANT_LIFETIME_MAX  43200

/* the longest description that is quoted, and word in it, bytes */
#define NGX_GCS_GRANT_QUOTE_MAX     240
#define NGX_GCS_GRANT_WORD_MAX      64


static const char *ngx_gcs_grant_reason(json_t *error);
static ngx_uint_t ngx_gcs_grant_passing(ngx_uint_t status, const char *error,
    const char *text);
static ngx_uint_t ngx_gcs_grant_passing_word(const char *word);
static u_char *ngx_gcs_grant_quote(u_char *p, u_char *last, const char *text);
static ngx_uint_t ngx_gcs_grant_secret_word(const char *p, size_t len);


json_t *
ngx_gcs_grant_json(ngx_gcs_response_t *res)
{
    if (res->body.len == 0) {
        return NULL;
    }

    /* integers as reals, so that a huge one is no syntax error */

    return json_loadb((char *) res->body.data, res->body.len,
                      JSON_REJECT_DUPLICATES|JSON_DECODE_INT_AS_REAL, NULL);
}


/* RFC 6749, section 5.1 */

ngx_int_t
ngx_gcs_grant_token(ngx_gcs_grant_t *grant, ngx_gcs_response_t *res)
{
    size_t        len;
    char         *what;
    json_t       *json, *token;
    ngx_int_t     rc;
    const char   *type;

    json = ngx_gcs_grant_json(res);

    if (json_object_get(json, "error")) {
        ngx_gcs_grant_json_free(json);
        return ngx_gcs_grant_refused(grant, res);
    }

    rc = NGX_DECLINED;

    token = json_object_get(json, "access_token");
    len = json_string_length(token);
    type = ngx_gcs_grant_string(json, "token_type");

    grant->lifetime = ngx_gcs_grant_lifetime(json_object_get(json,
                                                             "expires_in"));

    if (!json_is_object(json)) {
        what = "answered 200 without a JSON object";

    } else if (token == NULL && json_object_get(json, "id_token")) {
        what = "gave an ID token and no access token, are the scopes right?";
        grant->word = "scope_invalid";

    } else if (len == 0) {
        what = "answered 200 without an access token";

    } else if (!ngx_gcs_grant_token_valid(json_string_value(token), len)) {
        what = "gave an invalid or too long token";

    } else if (type
               && ngx_strcasecmp((u_char *) type, (u_char *) "bearer") != 0)
    {
        what = "gave a token of a type other than \"Bearer\"";

    } else if (grant->lifetime <= 0) {
        what = "gave an invalid \"expires_in\"";

    } else {
        what = NULL;

        grant->token.data = ngx_gcs_grant_secret(grant, len);

        if (grant->token.data) {
            ngx_memcpy(grant->token.data, json_string_value(token), len);
            grant->token.len = len;
        }

    }

    ngx_gcs_grant_json_free(json);

    if (what) {
        return ngx_gcs_grant_failed(grant, rc, what);
    }

    if (grant->token.len == 0) {
        return ngx_gcs_grant_failed(grant, NGX_ERROR, "no memory");
    }

    return ngx_gcs_grant_granted(grant);
}


/* b64token of RFC 6750, section 2.1: no byte that could end a header */

ngx_uint_t
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

time_t
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

ngx_int_t
ngx_gcs_grant_refused(ngx_gcs_grant_t *grant, ngx_gcs_response_t *res)
{
    u_char             *p, *last;
    json_t             *json, *value;
    ngx_int_t           rc;
    const char         *error, *text, *reason;
    ngx_gcs_explain_t  *explain;

    p = ngx_pnalloc(grant->pool, NGX_GCS_GRANT_ERROR_MAX);
    if (p == NULL) {
        return ngx_gcs_grant_failed(grant, NGX_ERROR, "no memory");
    }

    json = ngx_gcs_grant_json(res);
    value = json_object_get(json, "error");
    reason = NULL;

    if (json_is_object(value)) {
        error = ngx_gcs_grant_string(value, "status");
        text = ngx_gcs_grant_string(value, "message");
        reason = ngx_gcs_grant_reason(value);

    } else {
        error = json_string_value(value);
        text = ngx_gcs_grant_string(json, "error_description");
    }

    grant->error.data = p;
    last = p + NGX_GCS_GRANT_ERROR_MAX;

    p = ngx_slprintf(p, last, "%s answered %ui", grant->step->name,
                     res->status);

    if (error == NULL && text == NULL) {
        p = ngx_slprintf(p, last, " without a reason");
    }

    if (error) {
        p = ngx_slprintf(p, last, " ");
        p = ngx_gcs_grant_quote(p, p + 100, error);
    }

    if (text) {
        p = ngx_slprintf(p, last, error ? ": " : " ");
        p = ngx_gcs_grant_quote(p, p + NGX_GCS_GRANT_QUOTE_MAX, text);
    }

    explain = ngx_gcs_explain(grant->step->where, res->status,
                              reason ? reason : error, text);

    if (explain) {
        grant->word = explain->word;
        p = ngx_slprintf(p, last, "; %s", explain->remedy);
    }

    grant->error.len = p - grant->error.data;

    rc = ngx_gcs_grant_passing(res->status, error, text) ? NGX_BUSY
                                                         : NGX_DECLINED;
    ngx_gcs_grant_json_free(json);

    return rc;
}


/* {"details":[{"reason":"X"}]}, if it says more than the status */

static const char *
ngx_gcs_grant_reason(json_t *error)
{
    size_t       i;
    json_t      *details;
    const char  *reason;

    details = json_object_get(error, "details");

    for (i = 0; i < json_array_size(details); i++) {
        reason = ngx_gcs_grant_string(json_array_get(details, i), "reason");

        if (reason) {
            return reason;
        }
    }

    return NULL;
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

    *p++ = '"';
    last--;

    while (*text && p < last) {

        len = strcspn(text, " \t\r\n\"'(),:;<>@?&/=[]{}|*");

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
           || ngx_strncmp(p, "eyJ", sizeof("eyJ") - 1) == 0
           || ngx_strncmp(p, "GOCSPX-", sizeof("GOCSPX-") - 1) == 0;
}


ngx_int_t
ngx_gcs_grant_failed(ngx_gcs_grant_t *grant, ngx_int_t rc, char *text)
{
    u_char  *p;

    grant->lifetime = 0;

    ngx_str_null(&grant->token);

    grant->error.len = ngx_strlen(text);
    grant->error.data = (u_char *) text;

    if (rc == NGX_ERROR) {
        return rc;
    }

    p = ngx_pnalloc(grant->pool, NGX_GCS_GRANT_ERROR_MAX);
    if (p == NULL) {
        return NGX_ERROR;
    }

    grant->error.data = p;
    grant->error.len = ngx_slprintf(p, p + NGX_GCS_GRANT_ERROR_MAX, "%s %s",
                                    grant->step->name, text)
                       - p;
    return rc;
}


const char *
ngx_gcs_grant_string(json_t *json, const char *name)
{
    return json_string_value(json_object_get(json, name));
}
