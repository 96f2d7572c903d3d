
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _SHIM_H_INCLUDED_
#define _SHIM_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include <jansson.h>
#include <openssl/evp.h>

#include "ngx_gcs_crypto.h"


/*
 * What the pure files need of nginx, which the package of its headers has no
 * sources of.  Every pool allocation is a malloc() of its own, so that
 * AddressSanitizer sees an overrun that a real pool would hide.
 */


/* the allocation, counted from 1, that fails; 0: none.  See shim_allocs. */
extern ngx_uint_t  shim_fail_at;

/* allocations since the test has set it to 0 */
extern ngx_uint_t  shim_allocs;

/*
 * A text that no memory may hold when its pool has run its cleanups, and how
 * many allocations have held it; NULL: nobody looks.
 */
extern const char  *shim_secret;
extern ngx_uint_t   shim_left;


/* failures so far: what main() returns */
extern int  test_failures;

#define test_check(cond, what)                                                \
    test_result(!!(cond), #cond, what, __FILE__, __LINE__)

/* what is a text that tells the case from others of a table; or NULL */
void test_result(int ok, const char *cond, const char *what,
    const char *file, int line);

ngx_pool_t *test_pool(void);

/* a copy with nothing readable behind it */
ngx_str_t test_bytes(ngx_pool_t *pool, const void *data, size_t len);
ngx_str_t test_text(ngx_pool_t *pool, const char *text);

ngx_uint_t test_equal(ngx_str_t *str, const char *text);
ngx_uint_t test_contains(ngx_str_t *str, const char *text);

/* a C string from pool */
char *test_cstr(ngx_pool_t *pool, ngx_str_t *str);

/* a copy of pattern with value, to be freed, instead of each "$" */
char *test_filled(const char *pattern, const char *value);

/* decodes what was escaped in a query; "" for what is not properly so */
ngx_str_t test_unescape(ngx_pool_t *pool, ngx_str_t *text);

/* the value of a field of a form, decoded; NULL in data: there is none */
ngx_str_t test_field(ngx_pool_t *pool, ngx_str_t *form, const char *name);

/*
 * The whole of a program that is asked: a line of JSON on standard input is a
 * question, one on standard output its answer.  What main() returns.
 */
int test_asked(json_t *(*answer)(ngx_pool_t *pool, json_t *in));

/* keys made on the spot, since none may lie in the tree */

typedef enum {
    TEST_PKCS8 = 0,
    TEST_PKCS1,
    TEST_ENCRYPTED,
    TEST_PUBLIC
} test_pem_e;

EVP_PKEY *test_rsa(int bits);

/* the same as the module has it, in pool */
ngx_gcs_key_t *test_prepared(ngx_pool_t *pool, EVP_PKEY *key);

ngx_str_t test_pem(ngx_pool_t *pool, EVP_PKEY *key, test_pem_e form);

/* a complete key file of a service account */
ngx_str_t test_key_file(ngx_pool_t *pool, EVP_PKEY *key);

/*
 * A part of a JWT, from 0, decoded with another decoder than nginx's; NULL:
 * it is no JSON.  Ends the program if there is no such part.
 */
json_t *test_jwt_part(ngx_pool_t *pool, ngx_str_t *jwt, ngx_uint_t n,
    ngx_str_t *raw);

/* checks the signature: every byte of header and claims is signed */
void test_jwt_verify(ngx_pool_t *pool, ngx_str_t *jwt, EVP_PKEY *key);


#endif /* _SHIM_H_INCLUDED_ */
