
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


/*
 * Reads credential files, and walks grants through answers, as it is told on
 * standard input; what came of each is a line of JSON on standard output.
 *
 * A message has its length before it, 4 bytes in the machine's order.  Its
 * first byte is 'c': the rest is a file, or that of an environment, then a
 * file and answers each follow, as chunks with their lengths.
 */


#include "shim.h"

#include "ngx_gcs_grant.h"


typedef struct {
    u_char  *p;
    u_char  *last;
} reader_message_t;


static ngx_uint_t reader_read(ngx_str_t *message);
static json_t *reader_file(ngx_pool_t *pool, ngx_str_t *file,
    ngx_gcs_credentials_t *cred);
static json_t *reader_grant(ngx_pool_t *pool, u_char environment,
    reader_message_t *message);
static void reader_environment(u_char environment,
    ngx_gcs_aws_environment_t *aws);
static ngx_str_t reader_chunk(ngx_pool_t *pool, reader_message_t *message);
static json_t *reader_result(ngx_int_t rc, ngx_str_t *err, char *word,
    ngx_uint_t steps);


int
main(void)
{
    json_t                 *out;
    ngx_str_t               text;
    ngx_pool_t             *pool;
    reader_message_t        message;
    ngx_gcs_credentials_t   cred;

    while (reader_read(&text)) {
        pool = test_pool();

        message.p = text.data + 1;
        message.last = text.data + text.len;

        if (text.data[0] == 'c') {
            ngx_memzero(&cred, sizeof(cred));

            text = test_bytes(pool, message.p, message.last - message.p);
            out = reader_file(pool, &text, &cred);

            free(message.p - 1);

        } else {
            out = reader_grant(pool, text.data[0], &message);
            free(text.data);
        }

        json_dumpf(out, stdout, JSON_COMPACT);
        printf("\n");

        json_decref(out);
        ngx_destroy_pool(pool);
    }

    return 0;
}


static ngx_uint_t
reader_read(ngx_str_t *message)
{
    uint32_t  len;

    if (fread(&len, sizeof(len), 1, stdin) != 1 || len == 0) {
        return 0;
    }

    message->len = len;
    message->data = malloc(len);

    if (message->data == NULL || fread(message->data, len, 1, stdin) != 1) {
        abort();
    }

    return 1;
}


static json_t *
reader_file(ngx_pool_t *pool, ngx_str_t *file, ngx_gcs_credentials_t *cred)
{
    ngx_int_t  rc;
    ngx_str_t  err;

    ngx_str_null(&err);

    rc = ngx_gcs_credentials_parse(pool, file, cred, &err);

    return reader_result(rc, &err, NULL, cred->type);
}


static json_t *
reader_grant(ngx_pool_t *pool, u_char environment, reader_message_t *message)
{
    json_t                     *out;
    ngx_int_t                   rc;
    ngx_str_t                   file, head;
    ngx_uint_t                  steps;
    ngx_gcs_grant_t            *grant;
    ngx_gcs_request_t           req;
    ngx_gcs_response_t          res;
    ngx_gcs_credentials_t       cred;
    ngx_gcs_aws_environment_t   aws;

    ngx_memzero(&cred, sizeof(cred));
    ngx_memzero(&aws, sizeof(aws));

    reader_environment(environment, &aws);
    cred.aws = &aws;

    file = reader_chunk(pool, message);

    if (file.len) {
        json_decref(reader_file(pool, &file, &cred));

    } else {
        cred.type = NGX_GCS_METADATA_SERVER;
        (void) ngx_gcs_credentials_complete(pool, &cred, &file);
    }

    grant = ngx_gcs_grant_create(pool, &cred);
    rc = NGX_AGAIN;

    for (steps = 0; rc == NGX_AGAIN; steps++) {
        ngx_memzero(&req, sizeof(req));

        rc = ngx_gcs_grant_request(grant, 1700000000, &req);

        if (rc != NGX_OK) {
            break;
        }

        rc = NGX_AGAIN;

        if (message->p == message->last) {
            break;
        }

        head = reader_chunk(pool, message);

        ngx_memzero(&res, sizeof(res));
        res.status = (ngx_uint_t) ngx_atoi(head.data, 3);
        res.metadata = (head.data[3] == '+');
        res.body = reader_chunk(pool, message);

        rc = ngx_gcs_grant_response(grant, &res);
    }

    out = reader_result(rc, &grant->error, grant->word, steps);

    json_object_set_new(out, "token", json_stringn((char *) grant->token.data,
                                                   grant->token.len));
    json_object_set_new(out, "lifetime", json_integer(grant->lifetime));

    return out;
}


static void
reader_environment(u_char environment, ngx_gcs_aws_environment_t *aws)
{
    switch (environment) {

    case 'k':
        ngx_str_set(&aws->keys.access_key_id, "AKIA");
        ngx_str_set(&aws->keys.secret_access_key, "hidden-env");
        break;

    case 'w':
        ngx_str_set(&aws->role_arn, "arn:aws:iam::123:role/r");
        ngx_str_set(&aws->web_identity_token_file, "/run/web");
        ngx_str_set(&aws->region, "us-east-2");
        break;

    case 'a':
        ngx_str_set(&aws->container_url, "http://169.254.170.23/v1");
        ngx_str_set(&aws->container_token_file, "/run/agent");
        ngx_str_set(&aws->region, "us-east-2");
        break;

    default:
        break;
    }
}


static ngx_str_t
reader_chunk(ngx_pool_t *pool, reader_message_t *message)
{
    uint32_t   len;
    ngx_str_t  chunk;

    ngx_memcpy(&len, message->p, sizeof(len));
    message->p += sizeof(len);

    chunk = test_bytes(pool, message->p, len);
    message->p += len;

    return chunk;
}


static json_t *
reader_result(ngx_int_t rc, ngx_str_t *err, char *word, ngx_uint_t steps)
{
    json_t  *out;

    out = json_pack("{s:i, s:i, s:s?}", "rc", (int) rc, "steps", (int) steps,
                    "word", word);

    /* what is no UTF-8 cannot be written */

    json_object_set_new(out, "error",
                        err->len ? json_stringn((char *) err->data, err->len)
                                 : json_string(""));

    return out;
}
