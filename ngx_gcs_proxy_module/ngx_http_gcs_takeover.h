
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_HTTP_GCS_TAKEOVER_H_INCLUDED_
#define _NGX_HTTP_GCS_TAKEOVER_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_gcs_fileuri.h"
#include "ngx_gcs_redirect.h"
#include "ngx_gcs_seal.h"
#include "ngx_gcs_url_cache.h"
#include "ngx_http_gcs_types.h"


/*
 * An application decides who may have an object, and nginx delivers it: a
 * request goes to the stock proxy of its location, and when the answer is a
 * redirect to an object of Cloud Storage, or other evidence, it goes on in a
 * named location with "gcs_pass".
 */


/* "gcs_takeover" of a location */

struct ngx_http_gcs_takeover_conf_s {
    ngx_table_elt_t              accel;      /* "X-Accel-Redirect: @NAME" */
    ngx_http_complex_value_t    *value;      /* of an oracle, or NULL */
    ngx_gcs_redirect_conf_t      hosts;      /* that are Cloud Storage's */

    ngx_str_t                   *file;       /* where it is written */
    ngx_uint_t                   line;

    ngx_http_core_srv_conf_t    *cscf;       /* where @NAME is */
    ngx_http_gcs_loc_conf_t     *target;     /* its configuration */
    ngx_http_handler_pt          handler;    /* of the stock proxy */
    ngx_http_gcs_status_location_t  *status;

    unsigned                     http2:1;    /* to the application */
    unsigned                     any:1;      /* unsigned ones, too */
};


/* "gcs_takeover_cache" */

struct ngx_http_gcs_verdict_conf_s {
    ngx_gcs_url_cache_t         *cache;      /* NULL: "off" */
    time_t                       valid;      /* seconds */
    ngx_http_complex_value_t    *key;        /* who asks; NULL: by headers */
    u_char                       secret[NGX_GCS_SEAL_KEY];
};


typedef struct ngx_http_gcs_flight_s  ngx_http_gcs_flight_t;


/* of a request; it outlives redirects */

struct ngx_http_gcs_takeover_s {
    ngx_http_gcs_takeover_conf_t  *conf;

    /* what is served: parsed, and as "$gcs_takeover_url" */
    ngx_gcs_redirect_t           redirect;   /* signed is where a target is */
    ngx_gcs_object_t             object;
    ngx_str_t                    url;

    ngx_str_t                    disposition;  /* for the client, or empty */
    ngx_str_t                    type;         /* likewise */
    ngx_str_t                    status;       /* "$gcs_takeover_status" */

    /* the stock proxy's */
    ngx_int_t                  (*process_header)(ngx_http_request_t *r);
    ngx_int_t                  (*reinit_request)(ngx_http_request_t *r);
    void                       (*finalize_request)(ngx_http_request_t *r,
                                                   ngx_int_t rc);

    /* verdicts */
    ngx_http_gcs_verdict_conf_t  *verdicts;  /* NULL: none are remembered */
    ngx_http_gcs_flight_t       *flight;     /* which this request leads */
    ngx_queue_t                  queue;      /* ... or waits for */
    ngx_event_t                  event;      /* the wait is over */
    u_char                       key[NGX_GCS_SHA256_LEN];
    u_char                       seal[NGX_GCS_SEAL_KEY];

    unsigned                     oracle:1;   /* object is that of VALUE */
    unsigned                     asking:1;   /* the application, as below */
    unsigned                     accel:1;    /* by "X-Accel-Redirect" */
    unsigned                     taken:1;
    unsigned                     keyed:1;
    unsigned                     waiting:1;
    unsigned                     alone:1;    /* does not wait for others */
};


/* ngx_http_gcs_takeover_conf.c */

/* the handlers of the directives of these names */
char *ngx_http_gcs_takeover(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_gcs_takeover_hosts(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_gcs_takeover_cache(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/*
 * Merges them, and prepares the stock proxy of a location with "gcs_takeover"
 * before the proxy module merges its own configuration.
 */
char *ngx_http_gcs_takeover_merge(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *prev, ngx_http_gcs_loc_conf_t *conf);

/* the second half, after the proxy module has merged: the content handler */
char *ngx_http_gcs_takeover_finish(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf);

/* finds the named locations, when all are known */
ngx_int_t ngx_http_gcs_takeover_init(ngx_conf_t *cf,
    ngx_http_gcs_main_conf_t *gmcf);


/* ngx_http_gcs_takeover.c */

/* goes on with a request that has waited, see ngx_http_gcs_resume_pt */
void ngx_http_gcs_takeover_resume(ngx_http_request_t *r, ngx_int_t rc);

/*
 * What the application is asked with, as variables' handlers: data of the
 * second is an offset in ngx_http_headers_in_t.
 */
ngx_int_t ngx_http_gcs_takeover_method_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
ngx_int_t ngx_http_gcs_takeover_header_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);

/* "$gcs_fileuri" */
ngx_int_t ngx_http_gcs_fileuri_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);


/* ngx_http_gcs_takeover_judge.c */

/*
 * Decides upon the application's answer, whose header is complete; what it
 * returns is for process_header() to return.
 */
ngx_int_t ngx_http_gcs_takeover_judge(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);

/*
 * Reads a redirect of the application: value of its "Location" or, with accel
 * set, of its "X-Accel-Redirect".  NGX_OK: t tells the object, which may be
 * served; NGX_DECLINED and *reason, a constant string; NGX_ERROR if memory is
 * out.
 */
ngx_int_t ngx_http_gcs_takeover_object(ngx_http_request_t *r,
    ngx_http_gcs_takeover_t *t, ngx_str_t *value, ngx_uint_t accel,
    char **reason);


/* ngx_http_gcs_verdict.c */

/*
 * Looks for a verdict.  NGX_OK: the object may be served; NGX_DECLINED: the
 * application is to be asked; NGX_AGAIN: somebody asks already, and
 * ngx_http_gcs_takeover_resume() will be called; or the HTTP status to answer.
 */
ngx_int_t ngx_http_gcs_verdict_look(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);

/*
 * Remembers one: with t->taken set that of value, a URL of the application or
 * empty for an oracle, else that of value, a status.  extra is a
 * Content-Disposition or a WWW-Authenticate, or empty.  NGX_DECLINED: it is
 * not remembered, for it is too long or nothing is.
 */
ngx_int_t ngx_http_gcs_verdict_set(ngx_http_request_t *r,
    ngx_http_gcs_takeover_t *t, ngx_str_t *extra, ngx_str_t *value);

/*
 * The question has been answered, or will not be: those who wait for it look
 * again or, with alone set, ask for themselves, all at once.
 */
void ngx_http_gcs_verdict_end(ngx_http_gcs_takeover_t *t, ngx_uint_t alone);

/* the request is over; from the cleanup of its pool */
void ngx_http_gcs_verdict_cancel(ngx_http_gcs_takeover_t *t);


/* ngx_http_gcs_takeover_object.c */

/*
 * Whether the object of the request is the one that ctx->takeover has brought
 * it to: after an error it may be a page.
 */
ngx_uint_t ngx_http_gcs_takeover_is_of(ngx_http_gcs_ctx_t *ctx);

/*
 * Checks that the request, in a location with "gcs_auth signature", has been
 * brought there by a takeover with a signature of its object.  NGX_OK; or an
 * HTTP status, with ctx->error set and the cause logged.
 */
ngx_int_t ngx_http_gcs_takeover_signed(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);

/*
 * Changes what Cloud Storage says of an object that was taken over:
 * Cache-Control becomes private, Content-Disposition and Content-Type as the
 * application wants them.  NGX_ERROR if memory is out.
 */
ngx_int_t ngx_http_gcs_takeover_answer(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);

/* variables' handlers; data is an offset in ngx_http_gcs_takeover_t */
ngx_int_t ngx_http_gcs_takeover_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);

/* what a signed URL is fetched with; data is an offset likewise */
ngx_int_t ngx_http_gcs_takeover_signed_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);


#endif /* _NGX_HTTP_GCS_TAKEOVER_H_INCLUDED_ */
