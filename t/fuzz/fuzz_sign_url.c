
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "fuzz.h"

#include <curl/curl.h>

#include "ngx_gcs_escape.h"
#include "ngx_gcs_sign.h"


#define FUZZ_FIELDS     9
#define FUZZ_SIGNATURE  "&X-Goog-Signature="


static ngx_str_t fuzz_field(ngx_pool_t *pool, const uint8_t **p,
    const uint8_t *last);
static time_t fuzz_number(ngx_pool_t *pool, ngx_str_t *text);
static void fuzz_pairs(ngx_pool_t *pool, ngx_gcs_sign_url_t *url,
    const uint8_t *p, const uint8_t *last);
static ngx_str_t fuzz_path(ngx_pool_t *pool, ngx_str_t *text);
static void fuzz_text(ngx_str_t *text);
static void fuzz_result(ngx_pool_t *pool, ngx_gcs_sign_url_t *url,
    ngx_str_t *part, ngx_str_t *result);
static void fuzz_query(ngx_pool_t *pool, ngx_str_t *query, ngx_uint_t params);
static void fuzz_host(ngx_pool_t *pool, ngx_gcs_sign_url_t *url,
    ngx_str_t *result);


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    return 0;
}


/*
 * A field in each line: scheme, host, signed host, path (escaped here, if it
 * does not begin with a slash), method, account, location, time, life; then
 * "hNAME:VALUE" for a header and "pNAME:VALUE" for a parameter.  The byte ff
 * stands for a line feed in them.
 */

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ngx_int_t             rc;
    ngx_str_t             fields[FUZZ_FIELDS], secret, text, part, result;
    ngx_uint_t            i;
    ngx_pool_t           *pool;
    const uint8_t        *p, *last;
    ngx_gcs_sign_key_t    key;
    ngx_gcs_sign_url_t    url;

    pool = test_pool();
    p = data;
    last = data + size;

    for (i = 0; i < FUZZ_FIELDS; i++) {
        fields[i] = fuzz_field(pool, &p, last);
    }

    ngx_memzero(&url, sizeof(url));

    url.scheme = fields[0];
    url.host = fields[1];
    url.signed_host = fields[2];
    url.path = fuzz_path(pool, &fields[3]);
    url.method = fields[4];
    url.account = fields[5];
    url.location = fields[6];
    url.now = fuzz_number(pool, &fields[7]);
    url.expires = fuzz_number(pool, &fields[8]);

    fuzz_pairs(pool, &url, p, last);

    rc = ngx_gcs_sign_url_text(pool, &url, &text, &part);

    fuzz_check(rc == NGX_OK || rc == NGX_DECLINED);
    fuzz_check(rc == NGX_DECLINED || ngx_gcs_sign_url_check(&url) == NGX_OK);

    secret = test_text(pool, "secret");
    ngx_memzero(&key, sizeof(key));

    if (rc == NGX_OK) {
        fuzz_text(&text);

        /* any bytes will do, a key of RSA would be slow */

        fuzz_check(ngx_gcs_sign_url_append(pool, &part, &text, &result)
                   == NGX_OK);
        fuzz_result(pool, &url, &part, &result);

        url.hmac = 1;
        fuzz_check(ngx_gcs_sign_url_text(pool, &url, &text, &part) == NGX_OK);
    }

    fuzz_check(ngx_gcs_sign_url_hmac(pool, &secret, &key, &url, &result)
               == rc);

    if (rc == NGX_OK) {
        fuzz_result(pool, &url, &part, &result);
    }

    ngx_destroy_pool(pool);

    return 0;
}


/* the next line; the pairs, too, are read with it */

static ngx_str_t
fuzz_field(ngx_pool_t *pool, const uint8_t **p, const uint8_t *last)
{
    size_t          i;
    ngx_str_t       text;
    const uint8_t  *end;

    end = *p < last ? memchr(*p, '\n', last - *p) : NULL;
    end = end ? end : last;

    text = test_bytes(pool, *p, end - *p);

    for (i = 0; i < text.len; i++) {
        if (text.data[i] == 0xff) {
            text.data[i] = '\n';
        }
    }

    *p = end < last ? end + 1 : last;

    return text;
}


static time_t
fuzz_number(ngx_pool_t *pool, ngx_str_t *text)
{
    return (time_t) strtoll(test_cstr(pool, text), NULL, 10);
}


static void
fuzz_pairs(ngx_pool_t *pool, ngx_gcs_sign_url_t *url, const uint8_t *p,
    const uint8_t *last)
{
    u_char         *colon;
    size_t          len;
    ngx_str_t       line;
    ngx_array_t   **pairs;
    ngx_keyval_t   *pair;

    while (p < last) {
        line = fuzz_field(pool, &p, last);

        if (line.len == 0) {
            continue;
        }

        pairs = line.data[0] == 'h' ? &url->headers : &url->params;

        if (*pairs == NULL) {
            *pairs = ngx_array_create(pool, 2, sizeof(ngx_keyval_t));
        }

        colon = memchr(line.data, ':', line.len);
        len = colon ? (size_t) (colon - line.data) : line.len;

        pair = ngx_array_push(*pairs);
        pair->key = test_bytes(pool, line.data + 1, len ? len - 1 : 0);

        if (colon) {
            pair->value = test_bytes(pool, colon + 1, line.len - len - 1);

        } else {
            ngx_str_null(&pair->value);
        }
    }
}


static ngx_str_t
fuzz_path(ngx_pool_t *pool, ngx_str_t *text)
{
    ngx_str_t  path;

    if (text->len == 0 || text->data[0] == '/') {
        return *text;
    }

    path.len = 1 + ngx_gcs_escape_path_len(text->data, text->len);
    path.data = ngx_pnalloc(pool, path.len);
    path.data[0] = '/';

    ngx_gcs_escape_path(path.data + 1, text->data, text->len);

    return path;
}


/* four lines of visible characters */

static void
fuzz_text(ngx_str_t *text)
{
    size_t      i;
    ngx_uint_t  lines;

    lines = 1;

    for (i = 0; i < text->len; i++) {
        if (text->data[i] == '\n') {
            lines++;
            continue;
        }

        fuzz_check(text->data[i] > ' ' && text->data[i] < 0x7f);
    }

    fuzz_check(lines == 4 && text->data[text->len - 65] == '\n');
}


static void
fuzz_result(ngx_pool_t *pool, ngx_gcs_sign_url_t *url, ngx_str_t *part,
    ngx_str_t *result)
{
    u_char      *p;
    size_t       i, len;
    ngx_str_t    query;
    ngx_uint_t   params;

    for (i = 0; i < result->len; i++) {
        fuzz_check(result->data[i] > ' ' && result->data[i] < 0x7f);
    }

    /* one signature, at the end */

    len = sizeof(FUZZ_SIGNATURE) - 1;

    fuzz_check(result->len > part->len + len
               && memcmp(result->data, part->data, part->len) == 0);

    p = memmem(result->data, result->len, FUZZ_SIGNATURE, len);
    fuzz_check(p == result->data + part->len);

    for (p += len; p < result->data + result->len; p++) {
        fuzz_check((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'f'));
    }

    /* the first "?" begins the query, which holds no other */

    p = memchr(part->data, '?', part->len);
    fuzz_check(p != NULL);

    query.data = p + 1;
    query.len = part->data + part->len - query.data;
    params = url->params ? url->params->nelts : 0;

    fuzz_check(memchr(query.data, '?', query.len) == NULL);
    fuzz_check(memchr(part->data, '#', part->len) == NULL);
    fuzz_check((size_t) (p - part->data)
               == url->scheme.len + 3 + url->host.len + url->path.len);
    fuzz_check(memcmp(p - url->path.len, url->path.data, url->path.len) == 0);

    fuzz_query(pool, &query, params + 5);
    fuzz_host(pool, url, result);
}


/* sorted by name, then by value; Google's own parameters once */

static void
fuzz_query(ngx_pool_t *pool, ngx_str_t *query, ngx_uint_t params)
{
    int          rc;
    char        *name, *value, *last_name, *last_value, *state;
    ngx_uint_t   own;

    own = 0;
    last_name = "";
    last_value = "";

    name = strtok_r(test_cstr(pool, query), "&", &state);

    for ( /* void */ ; name; name = strtok_r(NULL, "&", &state)) {

        value = strchr(name, '=');
        fuzz_check(value != NULL && value > name);

        *value++ = '\0';
        fuzz_check(strchr(value, '=') == NULL);

        rc = strcmp(last_name, name);
        fuzz_check(rc < 0 || (rc == 0 && strcmp(last_value, value) <= 0));

        if (strcmp(name, "X-Goog-Algorithm") == 0
            || strcmp(name, "X-Goog-Credential") == 0
            || strcmp(name, "X-Goog-Date") == 0
            || strcmp(name, "X-Goog-Expires") == 0
            || strcmp(name, "X-Goog-SignedHeaders") == 0)
        {
            fuzz_check(rc != 0 && *value != '\0');
            own++;
        }

        last_name = name;
        last_value = value;
        params--;
    }

    fuzz_check(own == 5 && params == 0);
}


/* where libcurl takes it for a URL, it would go to the same host */

static void
fuzz_host(ngx_pool_t *pool, ngx_gcs_sign_url_t *url, ngx_str_t *result)
{
    char   *part, *host;
    CURLU  *u;

    u = curl_url();

    if (curl_url_set(u, CURLUPART_URL, test_cstr(pool, result),
                     CURLU_PATH_AS_IS)
        == CURLUE_OK)
    {
        fuzz_check(curl_url_get(u, CURLUPART_HOST, &part, 0) == CURLUE_OK);

        /* 127.1 becomes 127.0.0.1, and a zone is no part of an address */

        host = test_cstr(pool, &url->host);

        if (part[0] != '[' && (part[0] < '0' || part[0] > '9')) {
            fuzz_check(strncasecmp(host, part, strlen(part)) == 0
                       && strchr(":", host[strlen(part)]) != NULL);
        }

        curl_free(part);

        fuzz_check(curl_url_get(u, CURLUPART_PATH, &part, 0) == CURLUE_OK);
        fuzz_check(test_equal(&url->path, part));
        curl_free(part);

        fuzz_check(curl_url_get(u, CURLUPART_USER, &part, 0)
                   == CURLUE_NO_USER);
        fuzz_check(curl_url_get(u, CURLUPART_FRAGMENT, &part, 0)
                   == CURLUE_NO_FRAGMENT);
    }

    curl_url_cleanup(u);
}
