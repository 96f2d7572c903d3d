
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "walk.h"


static void walk_request(ngx_gcs_request_t *req, walk_step_t *step);
static void walk_compare(const char *got, const char *want, const char *what);
static char *walk_form(ngx_str_t *body);


ngx_gcs_request_t  walk_requests[WALK_STEPS];


void
walk(ngx_gcs_grant_t *grant, walk_step_t *steps, ngx_int_t rc,
    const char *what)
{
    ngx_int_t           got;
    ngx_uint_t          i;
    ngx_gcs_request_t  *req;

    for (i = 0; steps[i].request; i++) {
        req = &walk_requests[i];

        ngx_memzero(req, sizeof(ngx_gcs_request_t));

        got = ngx_gcs_grant_request(grant, WALK_NOW, req);

        test_check(got == NGX_OK, steps[i].request);

        if (got != NGX_OK) {
            fprintf(stderr, "  error: %.*s\n", (int) grant->error.len,
                    grant->error.data);
            return;
        }

        test_check(grant->error.len == 0, steps[i].request);

        walk_request(req, &steps[i]);

        got = walk_answer(grant, steps[i].status, steps[i].answer,
                          strlen(steps[i].answer), steps[i].metadata);

        test_check(got == (steps[i + 1].request || rc == NGX_DONE
                           ? NGX_AGAIN : rc), steps[i].request);

        if (got != NGX_AGAIN) {

            if (got != rc) {
                fprintf(stderr, "  error: %.*s\n", (int) grant->error.len,
                        grant->error.data);
            }

            return;
        }

        test_check(grant->error.len == 0 && grant->word == NULL, what);
    }

    if (rc == NGX_DONE) {
        req = &walk_requests[i];
        ngx_memzero(req, sizeof(ngx_gcs_request_t));

        test_check(ngx_gcs_grant_request(grant, WALK_NOW, req) == NGX_DONE,
                   what);
    }
}


void
walk_to(ngx_gcs_credentials_t *cred, walk_step_t *steps, const char *token,
    time_t lifetime, const char *account)
{
    ngx_pool_t       *pool;
    ngx_gcs_grant_t  *grant;

    pool = test_pool();
    grant = ngx_gcs_grant_create(pool, cred);

    walk(grant, steps, NGX_OK, token);

    test_check(test_equal(&grant->token, token), token);
    test_check(grant->lifetime == lifetime, token);
    test_check(test_equal(&grant->account, account), token);
    test_check(grant->error.len == 0 && grant->word == NULL, token);

    ngx_destroy_pool(pool);

    walk_no_memory(cred, steps);
}


static void
walk_request(ngx_gcs_request_t *req, walk_step_t *step)
{
    char         *text, *form;
    FILE         *file;
    size_t        size;
    ngx_str_t    *header;
    ngx_uint_t    i;

    file = open_memstream(&text, &size);

    fprintf(file, "%.*s %.*s", req->method.len ? (int) req->method.len : 4,
            req->method.len ? (char *) req->method.data : "FILE",
            (int) req->url.len, req->url.data);

    fclose(file);
    walk_compare(text, step->request, step->request);
    free(text);

    if (req->method.len == 0) {

        /* the path of a file ends for open() */

        test_check(req->url.data[req->url.len] == '\0', step->request);
        test_check(req->headers == NULL && req->body.len == 0, step->request);
    }

    file = open_memstream(&text, &size);

    if (req->headers) {
        header = req->headers->elts;

        for (i = 0; i < req->headers->nelts; i++) {
            fprintf(file, "%.*s\n", (int) header[i].len, header[i].data);
        }
    }

    fclose(file);
    walk_compare(text, step->headers, step->request);

    if (step->body && strstr(text, WALK_FORM)) {
        form = walk_form(&req->body);
        walk_compare(form, step->body, step->request);
        free(form);

    } else if (step->body) {
        test_check(test_equal(&req->body, step->body), step->body);

        if (!test_equal(&req->body, step->body)) {
            fprintf(stderr, "  got: %.*s\n", (int) req->body.len,
                    req->body.data);
        }
    }

    free(text);
}


static void
walk_compare(const char *got, const char *want, const char *what)
{
    int     equal;
    size_t  len;

    len = strlen(want);

    if (len && want[len - 1] == '*') {
        equal = strncmp(got, want, len - 1) == 0
                && strchr(got + len - 1, '=') == NULL;

    } else {
        equal = strcmp(got, want) == 0;
    }

    test_check(equal, what);

    if (!equal) {
        fprintf(stderr, "  want: %s\n  got:  %s\n", want, got);
    }
}


/* decoded, and every byte of it was properly escaped */

static char *
walk_form(ngx_str_t *body)
{
    char        *text;
    FILE        *file;
    size_t       i, size;
    ngx_str_t    plain, line;
    ngx_uint_t   n;
    ngx_pool_t  *pool;
    const char  *secret;

    for (i = 0; i < body->len; i++) {
        test_check(memchr("ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                          "abcdefghijklmnopqrstuvwxyz0123456789-._~%&=",
                          body->data[i], 69) != NULL, "form");
    }

    pool = test_pool();
    file = open_memstream(&text, &size);

    for (i = 0; i < body->len; i += n + 1) {

        for (n = 0; i + n < body->len && body->data[i + n] != '&'; n++) {
            /* void */
        }

        line.data = body->data + i;
        line.len = n;

        plain = test_unescape(pool, &line);
        fprintf(file, "%.*s\n", (int) plain.len, plain.data);
    }

    fclose(file);

    /* this copy of secrets is no one's fault */

    secret = shim_secret;
    shim_secret = NULL;

    ngx_destroy_pool(pool);

    shim_secret = secret;

    return text;
}


ngx_int_t
walk_answer(ngx_gcs_grant_t *grant, ngx_uint_t status, const char *body,
    size_t len, ngx_uint_t metadata)
{
    ngx_int_t           rc;
    ngx_gcs_response_t  res;

    ngx_memzero(&res, sizeof(ngx_gcs_response_t));

    /* with nothing readable behind it, and gone afterwards */

    res.body.data = malloc(len);
    res.body.len = len;
    ngx_memcpy(res.body.data, body, len);

    res.status = status;
    res.retry_after = 17;
    res.metadata = metadata;

    files_watch(1);

    rc = ngx_gcs_grant_response(grant, &res);

    files_watch(0);

    free(res.body.data);

    return rc;
}


ngx_gcs_credentials_t
walk_file(ngx_pool_t *pool, ngx_uint_t file)
{
    json_t                            *json;
    ngx_str_t                          err;
    ngx_gcs_credentials_t              cred;
    static ngx_gcs_aws_environment_t   aws;

    json = files_json(file);

    ngx_memzero(&cred, sizeof(cred));
    cred.aws = &aws;

    test_check(files_parse(pool, json, &cred, &err) == NGX_OK, files[file]);

    json_decref(json);

    return cred;
}


void
walk_impersonate(ngx_pool_t *pool, ngx_gcs_credentials_t *cred,
    const char *email, const char *delegate, const char *another,
    time_t lifetime)
{
    ngx_str_t                *item;
    ngx_gcs_impersonation_t  *imp;

    imp = ngx_array_push(&cred->impersonations);

    imp->email = test_text(pool, email);
    imp->delegates = NULL;
    imp->lifetime = lifetime;

    if (delegate) {
        imp->delegates = ngx_array_create(pool, 2, sizeof(ngx_str_t));

        item = ngx_array_push(imp->delegates);
        *item = test_text(pool, delegate);

        item = ngx_array_push(imp->delegates);
        *item = test_text(pool, another);
    }
}


void
walk_no_memory(ngx_gcs_credentials_t *cred, walk_step_t *steps)
{
    ngx_int_t           rc;
    ngx_uint_t          i, n;
    ngx_pool_t         *pool;
    ngx_gcs_grant_t    *grant;
    ngx_gcs_request_t   req;

    for (n = 1; /* void */ ; n++) {
        pool = test_pool();

        shim_allocs = 0;
        shim_fail_at = n;

        rc = NGX_ERROR;
        grant = ngx_gcs_grant_create(pool, cred);

        for (i = 0; grant && steps[i].request; i++) {
            ngx_memzero(&req, sizeof(ngx_gcs_request_t));

            rc = ngx_gcs_grant_request(grant, WALK_NOW, &req);

            if (rc != NGX_OK) {
                break;
            }

            rc = walk_answer(grant, steps[i].status, steps[i].answer,
                             strlen(steps[i].answer), steps[i].metadata);

            if (rc != NGX_AGAIN) {
                break;
            }
        }

        shim_fail_at = 0;

        if (grant && (rc == NGX_ERROR || rc == NGX_DECLINED)) {
            test_check(grant->error.len != 0, steps[i].request);
        }

        ngx_destroy_pool(pool);

        if (shim_allocs < n) {
            test_check(rc == NGX_OK, steps[0].request);
            break;
        }

        /* some steps can do without what has failed */

        test_check(rc == NGX_ERROR || rc == NGX_DECLINED || rc == NGX_OK,
                   steps[0].request);
    }

    test_check(n > 5, "allocations were made to fail");
}
