
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_HTTP_GCS_CORS_H_INCLUDED_
#define _NGX_HTTP_GCS_CORS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_gcs_cors.h"


/*
 * CORS is a module of its own in nginx's list: it stands before the headers
 * filter there, so that its header filter runs after "add_header".
 */
extern ngx_module_t  ngx_http_gcs_cors_module;


/* a pattern of kind NGX_GCS_CORS_CUSTOM; one of them is set */

typedef struct {
    ngx_http_complex_value_t    *value;      /* yields origins */
#if (NGX_PCRE)
    ngx_regex_t                 *regex;      /* of a whole origin */
#endif
} ngx_http_gcs_cors_custom_t;


typedef struct {
    /*
     * "gcs_cors", one rule for each, or "gcs_cors_file"; empty: "off".  What
     * a rule does not say, a NULL, -1 or NGX_CONF_UNSET, is said by the
     * directives below.
     */
    ngx_array_t                 *rules;      /* ngx_gcs_cors_rule_t */

    ngx_array_t                 *methods;    /* ngx_str_t */
    ngx_array_t                 *headers;    /* likewise */
    ngx_array_t                 *expose;     /* likewise */
    time_t                       max_age;
    ngx_flag_t                   credentials;
    ngx_flag_t                   private_network;

    ngx_uint_t                   policy;     /* 0: off */
    ngx_str_t                    timing;     /* a header's value, or empty */

    /* made of the above for a location with "gcs_pass" */
    ngx_array_t                 *active;     /* complete; NULL: no CORS */
    unsigned                     off:1;      /* "gcs_cors off" is written */
    unsigned                     file:1;     /* the rules are of a file */
    unsigned                     ruled:1;    /* about CORS, "off" included */
    unsigned                     governs:1;  /* ... or the other headers */
    unsigned                     asked_private:1;  /* some rule looks at it */
} ngx_http_gcs_cors_conf_t;


/*
 * What the request is answered by, also when an internal redirect, as that of
 * "error_page", has led it elsewhere.
 */

typedef struct {
    ngx_http_request_t          *request;
    ngx_http_gcs_cors_conf_t    *conf;
    unsigned                     settled:1;   /* no rewrite has followed */
    unsigned                     preflight:1; /* is being answered */
} ngx_http_gcs_cors_ctx_t;


/* what the client has sent; empty strings: nothing */

typedef struct {
    ngx_str_t                    origin;
    ngx_str_t                    method;     /* Access-Control-Request-*, */
    ngx_str_t                    headers;    /* likewise */
    ngx_uint_t                   origins;    /* how many lines of each */
    ngx_uint_t                   methods;
    ngx_uint_t                   lists;
    ngx_uint_t                   private_network;
} ngx_http_gcs_cors_request_t;


/* ngx_http_gcs_cors_conf.c */

/* the value of "Cross-Origin-Resource-Policy" by its number */
ngx_str_t *ngx_http_gcs_cors_policy(ngx_uint_t policy);


/* ngx_http_gcs_cors_rule.c */

/* the handler of "gcs_cors" */
char *ngx_http_gcs_cors(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/*
 * Adds the name, which is not copied, of a header or, with methods set, of a
 * method.  NGX_DECLINED: it is not a valid one; NGX_ERROR: memory is out.
 */
ngx_int_t ngx_http_gcs_cors_add(ngx_array_t *list, ngx_str_t *name,
    ngx_uint_t methods);


/* ngx_http_gcs_cors_directives.c */

/* the handlers of the directives of these names */
char *ngx_http_gcs_cors_file(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_gcs_timing_origin(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* the handler of "gcs_cors_methods", "..._headers" and "..._expose" */
char *ngx_http_gcs_cors_names(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);


/* ngx_http_gcs_cors_custom.c */

/* make of text, "~..." or a value with variables, what matches origins */
char *ngx_http_gcs_cors_regex(ngx_conf_t *cf, ngx_str_t *text,
    ngx_http_gcs_cors_custom_t *custom);
char *ngx_http_gcs_cors_variables(ngx_conf_t *cf, ngx_str_t *text,
    ngx_http_gcs_cors_custom_t *custom);

/*
 * Whether a regular expression or a value with variables, data being the
 * request, lets the origin pass.
 */
ngx_gcs_cors_match_e ngx_http_gcs_cors_custom(void *data,
    ngx_gcs_cors_pattern_t *pattern, ngx_gcs_cors_origin_t *origin);


/* ngx_http_gcs_cors.c */

/* the handlers of the phases that they are named after */
ngx_int_t ngx_http_gcs_cors_rewrite_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_gcs_cors_preaccess_handler(ngx_http_request_t *r);

/* whether OPTIONS, though not in "gcs_methods", is to be answered here */
ngx_uint_t ngx_http_gcs_cors_takes(ngx_http_request_t *r);

/* answers an OPTIONS that is no preflight; returns as a content handler */
ngx_int_t ngx_http_gcs_cors_options(ngx_http_request_t *r);

/*
 * What is in effect for the answer to the request, or NULL: with ruled set
 * for CORS, else for the headers beside it.
 */
ngx_http_gcs_cors_conf_t *ngx_http_gcs_cors_in_effect(ngx_http_request_t *r,
    ngx_uint_t ruled);

/* the context of the request, or NULL */
ngx_http_gcs_cors_ctx_t *ngx_http_gcs_cors_get_ctx(ngx_http_request_t *r);

/* collects the headers of the request that matter */
void ngx_http_gcs_cors_read(ngx_http_request_t *r,
    ngx_http_gcs_cors_request_t *in);

/* decides upon the preflight, or upon the answer that is about to be sent */
void ngx_http_gcs_cors_decide(ngx_http_request_t *r,
    ngx_http_gcs_cors_conf_t *conf, ngx_http_gcs_cors_request_t *in,
    ngx_uint_t preflight, ngx_gcs_cors_answer_t *answer);


/* ngx_http_gcs_cors_filter.c */

/* puts the header filter into nginx's chain */
void ngx_http_gcs_cors_filter_init(void);


#endif /* _NGX_HTTP_GCS_CORS_H_INCLUDED_ */
