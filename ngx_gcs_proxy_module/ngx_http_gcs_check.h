
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_HTTP_GCS_CHECK_H_INCLUDED_
#define _NGX_HTTP_GCS_CHECK_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_gcs_check.h"
#include "ngx_http_gcs_types.h"


/* milliseconds: of one request to Cloud Storage, and of all together */
#define NGX_HTTP_GCS_CHECK_STEP   10000
#define NGX_HTTP_GCS_CHECK_TOTAL  30000

/* seconds: a result that has failed is shown no longer */
#define NGX_HTTP_GCS_CHECK_FAILED  5

/* how many origins may be given */
#define NGX_HTTP_GCS_CHECK_ORIGINS  8


typedef struct ngx_http_gcs_check_run_s  ngx_http_gcs_check_run_t;

/* "gcs_check" of a location */

struct ngx_http_gcs_check_s {
    ngx_http_gcs_loc_conf_t     *conf;
    ngx_gcs_object_t             target;     /* its name is a prefix */
    ngx_str_t                    url;        /* as written */
    ngx_array_t                 *origins;    /* of ngx_str_t; or NULL */
    ngx_str_t                    cors;       /* JSON that would allow them */
    time_t                       valid;      /* seconds */
    ngx_uint_t                   required;   /* bits of steps */
    ngx_uint_t                   everyone;   /* "public" */

    ngx_gcs_fetch_conf_t         fetch;
    ngx_str_t                    base;       /* "https://NAME:PORT" */
    ngx_str_t                    endpoint;   /* the same, to be shown */
    ngx_str_t                    host;       /* of "Host" */
    ngx_str_t                    port;       /* that is connected to */

    /* of a worker */
    ngx_queue_t                  waiters;
    ngx_http_gcs_check_run_t    *running;
    ngx_http_gcs_check_run_t    *done;       /* the last that has ended */
    ngx_msec_t                   ended;
};


/* a request to Cloud Storage; strings live until it has been sent */

typedef struct {
    char                        *method;
    ngx_str_t                    path;       /* escaped */
    ngx_str_t                    query;      /* canonical; or empty */
    ngx_str_t                    url;        /* signed, in place of both */
    ngx_str_t                   *origin;     /* or NULL */
    size_t                       limit;      /* of the body; or 0 */
    unsigned                     range:1;    /* the first byte only */
    unsigned                     stranger:1; /* without a token */
} ngx_http_gcs_check_ask_t;


/*
 * A part of a run, and what takes the answer of its request.  NGX_OK: it is
 * done; NGX_AGAIN: a handler will be called; NGX_ERROR: memory is out.
 */
typedef ngx_int_t (*ngx_http_gcs_check_stage_pt)(
    ngx_http_gcs_check_run_t *run);
typedef ngx_int_t (*ngx_http_gcs_check_answer_pt)(
    ngx_http_gcs_check_run_t *run, ngx_gcs_response_t *res);


/* one check, which ends whether anybody waits for it or not */

struct ngx_http_gcs_check_run_s {
    ngx_pool_t                  *pool;
    ngx_http_gcs_check_t        *check;
    ngx_http_gcs_identity_t     *identity;
    ngx_gcs_check_t              report;
    ngx_msec_t                   started;

    ngx_uint_t                   stage;
    ngx_uint_t                   step;       /* of the request under way */
    ngx_msec_t                   begun;      /* its beginning */
    ngx_http_gcs_check_answer_pt     answer;
    ngx_gcs_fetch_t             *fetch;
    ngx_gcs_token_waiter_t       waiter;
    ngx_gcs_signing_waiter_t     signing;
    ngx_uint_t                   generation; /* of the token sent */

    ngx_str_t                    user_project;
    ngx_str_t                    object;     /* that is read */
    off_t                        size;       /* -1: not known */
    ngx_str_t                    page;       /* the next one of the list */
    ngx_uint_t                   pages;
    ngx_uint_t                   origin;     /* index of the one asked for */
    ngx_uint_t                   hidden;     /* origins that see no range */

    unsigned                     authorized:1;   /* who asks is known */
    unsigned                     connected:1;    /* there was a request */
    unsigned                     unreachable:1;  /* nobody has answered */
    unsigned                     stranger:1;     /* the token is not sent */
    unsigned                     rejected:1;     /* a token was, already */
    unsigned                     empty:1;        /* there is no object */
};


/* ngx_http_gcs_check_conf.c */

/* the handler of "gcs_check" */
char *ngx_http_gcs_check(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* takes it over from the outer location where that has no name of its own */
void ngx_http_gcs_check_inherit(ngx_http_gcs_loc_conf_t *prev,
    ngx_http_gcs_loc_conf_t *conf, ngx_http_core_loc_conf_t *clcf);

/* checks that it can be done, and finds its endpoint */
char *ngx_http_gcs_check_merge(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf);


/* ngx_http_gcs_check.c */

/* the content handler: shows the last result, or waits for another */
ngx_int_t ngx_http_gcs_check_handler(ngx_http_request_t *r);

/* tells those who wait that the run has ended, with NGX_ERROR in vain */
void ngx_http_gcs_check_end(ngx_http_gcs_check_run_t *run, ngx_int_t rc);

/* drops all runs, before the tokens and fetches end */
void ngx_http_gcs_check_exit_process(ngx_http_gcs_main_conf_t *gmcf);


/* ngx_http_gcs_check_run.c */

/* begins; the project that is billed may be empty.  NULL: memory is out */
ngx_http_gcs_check_run_t *ngx_http_gcs_check_create(
    ngx_http_gcs_check_t *check, ngx_str_t *user_project);

/* goes on as far as it can; the run may have ended then */
void ngx_http_gcs_check_go(ngx_http_gcs_check_run_t *run);

/* goes on after a wait for what a stage has begun, with its result */
void ngx_http_gcs_check_resume(ngx_http_gcs_check_run_t *run, ngx_int_t rc);

/* begins anew with another token, what is known of the endpoint stays */
void ngx_http_gcs_check_again(ngx_http_gcs_check_run_t *run);

/* stops what is under way and frees the run */
void ngx_http_gcs_check_destroy(ngx_http_gcs_check_run_t *run);

/* milliseconds that are left of the run, at most max; 0: none */
ngx_msec_t ngx_http_gcs_check_left(ngx_http_gcs_check_run_t *run,
    ngx_msec_t max);

/* adds the time since run->begun to that of the step */
void ngx_http_gcs_check_time(ngx_http_gcs_check_run_t *run, ngx_uint_t step);


/* ngx_http_gcs_check_ask.c */

/*
 * Sends a request for the step.  NGX_AGAIN: answer will be called; NGX_OK: it
 * could not be sent, which the step says.
 */
ngx_int_t ngx_http_gcs_check_ask(ngx_http_gcs_check_run_t *run,
    ngx_uint_t step, ngx_http_gcs_check_ask_t *ask,
    ngx_http_gcs_check_answer_pt answer);

/* makes ask the request for the first byte of the object, from pool */
ngx_int_t ngx_http_gcs_check_ask_object(ngx_http_gcs_check_run_t *run,
    ngx_pool_t *pool, ngx_http_gcs_check_ask_t *ask);

/* makes the step a failed one, by what Cloud Storage has answered */
ngx_int_t ngx_http_gcs_check_refused(ngx_http_gcs_check_run_t *run,
    ngx_uint_t step, ngx_gcs_response_t *res, char *message);


/* ngx_http_gcs_check_identity.c */

/* stages: the credential, and its token */
ngx_int_t ngx_http_gcs_check_credential(ngx_http_gcs_check_run_t *run);
ngx_int_t ngx_http_gcs_check_token(ngx_http_gcs_check_run_t *run);

/* why there is no token; with NGX_OK there is one, but no newer */
void ngx_http_gcs_check_token_failed(ngx_http_gcs_check_run_t *run,
    ngx_gcs_token_t *token, ngx_uint_t step, ngx_int_t rc);

/* calls the handler when there is one, or when no time is left */
void ngx_http_gcs_check_token_wait(ngx_http_gcs_check_run_t *run,
    ngx_gcs_token_t *token, ngx_gcs_token_handler_pt handler, ngx_msec_t left);

/* whose it is, as far as that is known by now */
void ngx_http_gcs_check_members(ngx_http_gcs_check_run_t *run);


/* ngx_http_gcs_check_bucket.c */

/* stages: the endpoint, the bucket, and what it has */
ngx_int_t ngx_http_gcs_check_connect(ngx_http_gcs_check_run_t *run);
ngx_int_t ngx_http_gcs_check_bucket(ngx_http_gcs_check_run_t *run);
ngx_int_t ngx_http_gcs_check_list(ngx_http_gcs_check_run_t *run);

/* what the first answer tells of TLS and the clock */
void ngx_http_gcs_check_connected(ngx_http_gcs_check_run_t *run,
    ngx_int_t rc, ngx_gcs_response_t *res, ngx_str_t *err);


/* ngx_http_gcs_check_object.c */

/* stages: an object, what may be written, and who else may read it */
ngx_int_t ngx_http_gcs_check_read(ngx_http_gcs_check_run_t *run);
ngx_int_t ngx_http_gcs_check_write(ngx_http_gcs_check_run_t *run);
ngx_int_t ngx_http_gcs_check_cors(ngx_http_gcs_check_run_t *run);


/* ngx_http_gcs_check_sign.c */

/* a stage: a signed URL */
ngx_int_t ngx_http_gcs_check_sign(ngx_http_gcs_check_run_t *run);


#endif /* _NGX_HTTP_GCS_CHECK_H_INCLUDED_ */
