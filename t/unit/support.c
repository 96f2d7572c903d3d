
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "shim.h"

#include <openssl/pem.h>


int  test_failures;


void
test_result(int ok, const char *cond, const char *what, const char *file,
    int line)
{
    if (ok) {
        return;
    }

    test_failures = 1;

    fprintf(stderr, "%s:%d: failed: %s [%s]\n", file, line, cond,
            what ? what : "");
}


ngx_pool_t *
test_pool(void)
{
    ngx_pool_t  *pool;

    pool = ngx_create_pool(4096, NULL);
    if (pool == NULL) {
        abort();
    }

    return pool;
}


ngx_str_t
test_bytes(ngx_pool_t *pool, const void *data, size_t len)
{
    ngx_str_t  str;

    str.len = len;
    str.data = ngx_pnalloc(pool, len);

    if (str.data == NULL) {
        abort();
    }

    ngx_memcpy(str.data, data, len);

    return str;
}


ngx_str_t
test_text(ngx_pool_t *pool, const char *text)
{
    return test_bytes(pool, text, strlen(text));
}


ngx_uint_t
test_equal(ngx_str_t *str, const char *text)
{
    return str->len == strlen(text)
           && (str->len == 0 || ngx_memcmp(str->data, text, str->len) == 0);
}


ngx_uint_t
test_contains(ngx_str_t *str, const char *text)
{
    return str->len != 0
           && memmem(str->data, str->len, text, strlen(text)) != NULL;
}


char *
test_cstr(ngx_pool_t *pool, ngx_str_t *str)
{
    char  *p;

    p = ngx_pnalloc(pool, str->len + 1);
    if (p == NULL) {
        abort();
    }

    ngx_memcpy(p, str->data, str->len);
    p[str->len] = '\0';

    return p;
}


int
test_asked(json_t *(*answer)(ngx_pool_t *pool, json_t *in))
{
    char        *line;
    json_t      *question, *out;
    size_t       size;
    ngx_pool_t  *pool;

    line = NULL;
    size = 0;

    while (getline(&line, &size, stdin) > 0) {

        question = json_loads(line, JSON_ALLOW_NUL, NULL);
        if (question == NULL) {
            return 2;
        }

        pool = test_pool();
        out = answer(pool, question);

        json_dumpf(out, stdout, JSON_COMPACT);
        printf("\n");
        fflush(stdout);

        json_decref(question);
        json_decref(out);
        ngx_destroy_pool(pool);
    }

    free(line);

    return 0;
}


char *
test_filled(const char *pattern, const char *value)
{
    FILE    *file;
    char    *text;
    size_t   size;

    file = open_memstream(&text, &size);
    if (file == NULL) {
        abort();
    }

    for ( /* void */ ; *pattern; pattern++) {

        if (*pattern == '$') {
            fputs(value, file);

        } else {
            fputc(*pattern, file);
        }
    }

    fclose(file);

    return text;
}


ngx_str_t
test_unescape(ngx_pool_t *pool, ngx_str_t *text)
{
    char        hex[3], *end;
    size_t      i;
    u_char     *p;
    ngx_str_t   plain;

    plain.data = ngx_pnalloc(pool, text->len);
    p = plain.data;

    ngx_memzero(hex, sizeof(hex));

    for (i = 0; i < text->len; i++) {

        if (text->data[i] != '%') {
            *p++ = text->data[i];
            continue;
        }

        plain.len = 0;

        if (text->len - i < 3) {
            return plain;
        }

        ngx_memcpy(hex, &text->data[i + 1], 2);

        *p++ = (u_char) strtol(hex, &end, 16);
        i += 2;

        if (*end) {
            return plain;
        }
    }

    plain.len = p - plain.data;

    return plain;
}


ngx_str_t
test_field(ngx_pool_t *pool, ngx_str_t *form, const char *name)
{
    u_char     *p, *last, *end;
    ngx_str_t   value;

    p = form->data;
    last = form->data + form->len;

    for ( /* void */ ; p < last; p = end + 1) {

        end = memchr(p, '&', last - p);

        if (end == NULL) {
            end = last;
        }

        value.data = memchr(p, '=', end - p);

        if (value.data
            && (size_t) (value.data - p) == strlen(name)
            && ngx_memcmp(p, name, strlen(name)) == 0)
        {
            value.data++;
            value.len = end - value.data;

            return test_unescape(pool, &value);
        }
    }

    ngx_str_null(&value);

    return value;
}


EVP_PKEY *
test_rsa(int bits)
{
    EVP_PKEY  *key;

    key = EVP_RSA_gen(bits);
    if (key == NULL) {
        abort();
    }

    return key;
}


ngx_gcs_key_t *
test_prepared(ngx_pool_t *pool, EVP_PKEY *key)
{
    char       *err;
    ngx_str_t   pem;

    pem = test_pem(pool, key, TEST_PKCS8);

    return ngx_gcs_crypto_load_key(pool, &pem, &err);
}


ngx_str_t
test_pem(ngx_pool_t *pool, EVP_PKEY *key, test_pem_e form)
{
    int         rc;
    BIO        *bio;
    char       *data;
    long        len;
    ngx_str_t   pem;

    bio = BIO_new(BIO_s_mem());

    switch (form) {

    case TEST_PKCS8:
        rc = PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
        break;

    case TEST_PKCS1:
        rc = PEM_write_bio_PrivateKey_traditional(bio, key, NULL, NULL, 0,
                                                  NULL, NULL);
        break;

    case TEST_ENCRYPTED:
        rc = PEM_write_bio_PrivateKey(bio, key, EVP_aes_256_cbc(),
                                      (u_char *) "secret", 6, NULL, NULL);
        break;

    default: /* TEST_PUBLIC */
        rc = PEM_write_bio_PUBKEY(bio, key);
    }

    if (rc != 1) {
        abort();
    }

    len = BIO_get_mem_data(bio, &data);
    pem = test_bytes(pool, data, len);

    BIO_free(bio);

    return pem;
}


ngx_str_t
test_key_file(ngx_pool_t *pool, EVP_PKEY *key)
{
    char       *text;
    json_t     *json;
    ngx_str_t   pem, file;

    pem = test_pem(pool, key, TEST_PKCS8);

    json = json_pack("{s:s, s:s, s:s, s:s%, s:s, s:s, s:s, s:s}",
                     "type", "service_account",
                     "project_id", "demo-project",
                     "private_key_id", "0123456789abcdef",
                     "private_key", pem.data, pem.len,
                     "client_email",
                     "reader@demo-project.iam.gserviceaccount.com",
                     "client_id", "100000000000000000001",
                     "token_uri", "https://oauth2.googleapis.com/token",
                     "universe_domain", "googleapis.com");

    text = json_dumps(json, JSON_INDENT(2));
    file = test_text(pool, text);

    free(text);
    json_decref(json);

    return file;
}


json_t *
test_jwt_part(ngx_pool_t *pool, ngx_str_t *jwt, ngx_uint_t n, ngx_str_t *raw)
{
    int          size;
    char        *text, *part, *save;
    size_t       i, len, pad;
    ngx_str_t    padded;

    text = test_cstr(pool, jwt);
    part = strtok_r(text, ".", &save);

    while (part && n--) {
        part = strtok_r(NULL, ".", &save);
    }

    test_check(part != NULL, "parts");

    if (part == NULL) {
        exit(1);
    }

    len = strlen(part);
    pad = (4 - len % 4) % 4;

    padded.len = len + pad;
    padded.data = ngx_pnalloc(pool, padded.len);
    memset(padded.data, '=', padded.len);

    for (i = 0; i < len; i++) {
        padded.data[i] = part[i] == '-' ? '+' : part[i] == '_' ? '/' : part[i];
    }

    raw->data = ngx_pnalloc(pool, padded.len);
    size = EVP_DecodeBlock(raw->data, padded.data, (int) padded.len);

    test_check(size > 0, "base64url");

    raw->len = size - pad;

    return json_loadb((char *) raw->data, raw->len, 0, NULL);
}


void
test_jwt_verify(ngx_pool_t *pool, ngx_str_t *jwt, EVP_PKEY *key)
{
    u_char      *p;
    ngx_str_t    text, raw;
    EVP_MD_CTX  *md;

    text = *jwt;
    p = (u_char *) memrchr(jwt->data, '.', jwt->len);

    test_check(p != NULL, "parts");

    if (p == NULL) {
        return;
    }

    text.len = p - jwt->data;

    json_decref(test_jwt_part(pool, jwt, 2, &raw));

    test_check(raw.len == (size_t) EVP_PKEY_size(key), NULL);

    md = EVP_MD_CTX_new();

    EVP_DigestVerifyInit(md, NULL, EVP_sha256(), NULL, key);
    test_check(EVP_DigestVerify(md, raw.data, raw.len, text.data, text.len)
               == 1, "signature");

    EVP_MD_CTX_free(md);
}
