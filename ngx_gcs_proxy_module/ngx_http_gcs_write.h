
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_HTTP_GCS_WRITE_H_INCLUDED_
#define _NGX_HTTP_GCS_WRITE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_gcs_types.h"


/*
 * Writes: PUT and DELETE, where "gcs_methods" names them.  What of the
 * client's goes with them to GCS, what an answer means, and what a cache must
 * not serve afterwards.
 */


/* ngx_http_gcs_write_conf.c */

/* the handler of "gcs_write_headers" and "gcs_pass_header" */
char *ngx_http_gcs_names(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* names that these directives know, for their handler */
extern ngx_str_t  ngx_http_gcs_write_names[];
extern ngx_str_t  ngx_http_gcs_pass_names[];

/* merges the two, and notes where the location may write */
char *ngx_http_gcs_write_merge(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *prev,
    ngx_http_gcs_loc_conf_t *conf);

/* sets what the stock proxy does with bodies, conditions and caches */
char *ngx_http_gcs_write_proxy(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf);

/*
 * Sets the headers of the client for HTTP/2 to GCS, one by one; with HTTP/1.1
 * they are lines, see ngx_http_gcs_given_lines().
 */
char *ngx_http_gcs_write_http2(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf);

/* whether the name is in the list, of ngx_str_t; NULL is an empty one */
ngx_uint_t ngx_http_gcs_name_listed(ngx_array_t *list, ngx_str_t *name);


/* ngx_http_gcs_write.c */

/*
 * Collects the headers of the client that go to GCS beside those of every
 * read: conditions on the generation, and what belongs to a write.  NGX_OK; or
 * an HTTP status, with ctx->error set and the cause logged: a header asks for
 * what GCS would not do.
 */
ngx_int_t ngx_http_gcs_given_headers(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);

/* whether "gcs_set_header" sets it, which is not the client's to change */
ngx_uint_t ngx_http_gcs_is_set(ngx_http_gcs_loc_conf_t *glcf,
    ngx_str_t *name);

/* their length as lines that follow another one, and these lines */
size_t ngx_http_gcs_given_len(ngx_http_gcs_ctx_t *ctx);
u_char *ngx_http_gcs_given_lines(ngx_http_gcs_ctx_t *ctx, u_char *p);

/* one of them, as a variable's handler; and whether a cache must not answer */
ngx_int_t ngx_http_gcs_given_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
ngx_int_t ngx_http_gcs_conditional_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);

/*
 * Whether a body is small enough to be read, into memory, before GCS is
 * asked: then the request can be repeated with another token.
 */
ngx_uint_t ngx_http_gcs_small_body(ngx_http_request_t *r);

/* whether the request may be repeated though GCS may have done it already */
ngx_uint_t ngx_http_gcs_repeatable(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);

/* the status that a client gets when GCS has refused what it writes */
ngx_int_t ngx_http_gcs_write_status(ngx_http_gcs_ctx_t *ctx);


/* ngx_http_gcs_written.c */

/*
 * Adds what all workers remember of writes, when all locations are known, if
 * there is a location that writes and one with a cache.
 */
ngx_int_t ngx_http_gcs_written_init(ngx_conf_t *cf,
    ngx_http_gcs_main_conf_t *gmcf);

/* notes whether the location has a cache, when the proxy has merged */
void ngx_http_gcs_written_cache(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf);

/* from now on nothing that is cached of the object is served */
void ngx_http_gcs_written(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx);

/* the same if the answer of GCS, ctx->status, leaves it possible */
void ngx_http_gcs_written_answer(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);

/* a part of every cache key, which differs after a write */
ngx_int_t ngx_http_gcs_written_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);


#endif /* _NGX_HTTP_GCS_WRITE_H_INCLUDED_ */
