
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_HTTP_GCS_API_H_INCLUDED_
#define _NGX_HTTP_GCS_API_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_gcs_api.h"
#include "ngx_http_gcs_types.h"


/*
 * "gcs_api": the location is what Google's own clients take for Google.  The
 * request is understood, checked and asked anew, see ngx_gcs_api.h; answers
 * pass as they are, but for links in them, which lead to us; and what nginx
 * itself answers has the form that these clients know.
 */


/* links that are replaced: two hosts of Google's, and the endpoint */
#define NGX_HTTP_GCS_API_PREFIXES  5


struct ngx_http_gcs_api_conf_s {
    ngx_http_complex_value_t    *origin;     /* NULL: as the client says */
    ngx_str_t                    prefixes[NGX_HTTP_GCS_API_PREFIXES];
};


typedef enum {
    NGX_HTTP_GCS_API_PASS = 0,
    NGX_HTTP_GCS_API_ERROR,       /* the answer is replaced */
    NGX_HTTP_GCS_API_LINKS        /* ... some of it */
} ngx_http_gcs_api_mode_e;


struct ngx_http_gcs_api_s {
    ngx_gcs_api_t                request;
    ngx_http_gcs_api_conf_t     *conf;       /* for which it was parsed */
    ngx_int_t                    rc;         /* of its parsing */
    ngx_str_t                    origin;     /* "https://HOST/" */
    ngx_str_t                    type;       /* of the body, if made anew */
    void                       **loc_conf;   /* the real one, meanwhile */

    /* the answer */
    ngx_http_gcs_api_mode_e      mode;
    ngx_str_t                    error;
    ngx_gcs_api_links_t          links;
    ngx_chain_t                 *busy;
    ngx_chain_t                 *free;

    unsigned                     parsed:1;
    unsigned                     rewritten:1;
    unsigned                     sent:1;     /* the error */
};


/* ngx_http_gcs_api_conf.c */

/* the handler of "gcs_api" */
char *ngx_http_gcs_api(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* before other directives are merged: which of them have no effect with it */
char *ngx_http_gcs_api_alone(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf);

/* checks that what is set goes together with it */
char *ngx_http_gcs_api_merge(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf);

/* configures the stock proxy, when the endpoint is known */
char *ngx_http_gcs_api_proxy(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf);

/* whether it is "http://HOST" or "https://HOST" */
ngx_uint_t ngx_http_gcs_api_origin_valid(ngx_str_t *origin);


/* ngx_http_gcs_api.c */

/*
 * Finds out what the client asks for: sets ctx->api and ctx->object.  NGX_OK;
 * or an HTTP status, with ctx->error set and the cause logged.
 */
ngx_int_t ngx_http_gcs_api_resolve(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);

/* reads and checks what of the body must be, then asks GCS */
ngx_int_t ngx_http_gcs_api_handler(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);

/* a phase handler: keys of sessions are not logged with the request line */
ngx_int_t ngx_http_gcs_api_rewrite_handler(ngx_http_request_t *r);

/* decides upon the response header of GCS, for process_header() */
ngx_int_t ngx_http_gcs_api_judge(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);


/* ngx_http_gcs_api_request.c */

/*
 * Lets nginx read no more of a body of metadata than it may have, also where
 * its length is not known: until api->loc_conf is put back.
 */
ngx_int_t ngx_http_gcs_api_limit_body(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);

/* notes what is no longer there when an object has another name */
ngx_int_t ngx_http_gcs_api_moved(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);

/* collects the headers of the client that go to GCS, or refuses one */
ngx_int_t ngx_http_gcs_api_headers(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);

/* what goes to GCS, as variables' handlers */
ngx_int_t ngx_http_gcs_api_target_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
ngx_int_t ngx_http_gcs_api_lines_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
ngx_int_t ngx_http_gcs_api_length_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);


/* ngx_http_gcs_api_filter.c */

/* adds the body filter */
void ngx_http_gcs_api_filter_init(void);

/* prepares the answer, a part of the header filter */
ngx_int_t ngx_http_gcs_api_header_filter(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);


#endif /* _NGX_HTTP_GCS_API_H_INCLUDED_ */
