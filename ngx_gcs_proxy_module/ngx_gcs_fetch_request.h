
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_FETCH_REQUEST_H_INCLUDED_
#define _NGX_GCS_FETCH_REQUEST_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include <curl/curl.h>

#include "ngx_gcs_fetch.h"


/* one exchange, as ngx_gcs_fetch.c and ngx_gcs_fetch_request.c see it */

struct ngx_gcs_fetch_s {
    ngx_queue_t                 queue;
    ngx_pool_t                 *pool;
    CURL                       *easy;
    struct curl_slist          *headers;
    struct curl_slist          *connect;
    ngx_str_t                   body;       /* of the request */
    ngx_gcs_response_t          response;
    size_t                      size;       /* of the response's buffer */
    size_t                      limit;      /* 0: none but the largest */
    char                      **wanted;
    ngx_gcs_fetch_handler_pt    handler;
    void                       *data;
    unsigned                    added:1;
    unsigned                    too_large:1;
    unsigned                    enough:1;   /* the limit has been reached */
    unsigned                    starved:1;
    unsigned                    done:1;
    char                        error[CURL_ERROR_SIZE];
};


/* prepares libcurl; NULL, or why it cannot be used */
char *ngx_gcs_fetch_check_library(void);

/* prepare fetch->easy; NGX_ERROR also for what must not be sent */
ngx_int_t ngx_gcs_fetch_set_conf(ngx_gcs_fetch_t *fetch,
    ngx_gcs_fetch_conf_t *conf, ngx_gcs_request_t *req);
ngx_int_t ngx_gcs_fetch_set_request(ngx_gcs_fetch_t *fetch,
    ngx_gcs_request_t *req);

/* copies the values of the headers wanted; NGX_ERROR: no memory */
ngx_int_t ngx_gcs_fetch_get_headers(ngx_gcs_fetch_t *fetch);

/* frees all, also what is half made, and wipes what is secret */
void ngx_gcs_fetch_free(ngx_gcs_fetch_t *fetch);


#endif /* _NGX_GCS_FETCH_REQUEST_H_INCLUDED_ */
