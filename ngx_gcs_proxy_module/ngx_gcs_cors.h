
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_CORS_H_INCLUDED_
#define _NGX_GCS_CORS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * Who may read answers from a page of another origin.  Rules are made when
 * the configuration is read, header values included; to decide upon a request
 * takes no memory.  (https://fetch.spec.whatwg.org/#http-cors-protocol)
 */


/* a scheme, a name of DNS (253) and a port have less, bytes */
#define NGX_GCS_CORS_ORIGIN  320


/* an origin in the one way to write it, that of browsers */

typedef struct {
    ngx_str_t                    text;     /* in buf; "null" is an origin */
    size_t                       host;     /* where it begins in text */
    u_char                       buf[NGX_GCS_CORS_ORIGIN];
} ngx_gcs_cors_origin_t;


typedef enum {
    NGX_GCS_CORS_EXACT = 0,
    NGX_GCS_CORS_ANY,             /* "*" */
    NGX_GCS_CORS_LABEL,           /* the first label of a host is "*" */
    NGX_GCS_CORS_CUSTOM           /* the caller knows: see data */
} ngx_gcs_cors_kind_e;


typedef struct {
    ngx_gcs_cors_kind_e          kind;
    ngx_str_t                    text;     /* EXACT; LABEL: without "*." */
    size_t                       host;     /* where it begins in text */
    void                        *data;     /* CUSTOM */
} ngx_gcs_cors_pattern_t;


typedef enum {
    NGX_GCS_CORS_NO = 0,
    NGX_GCS_CORS_YES,
    NGX_GCS_CORS_ALL              /* this origin as any other */
} ngx_gcs_cors_match_e;


typedef struct {
    ngx_array_t                 *origins;  /* ngx_gcs_cors_pattern_t */
    ngx_array_t                 *methods;  /* ngx_str_t; "*" is any */
    ngx_array_t                 *headers;  /* of requests; "*", "x-*", too */
    ngx_array_t                 *expose;   /* of answers; "*", too */
    time_t                       max_age;  /* -1: not known yet */
    ngx_uint_t                   credentials;
    ngx_uint_t                   private_network;

    /* made of the above by ngx_gcs_cors_complete() */
    ngx_uint_t                   any_origin;
    ngx_uint_t                   any_method;
    ngx_uint_t                   any_header;     /* "*" or a "x-*" */
    ngx_str_t                    allow_methods;  /* the values of headers, */
    ngx_str_t                    allow_headers;  /* empty: it is not sent */
    ngx_str_t                    expose_headers;
    ngx_str_t                    age;
} ngx_gcs_cors_rule_t;


/* whether a pattern of kind CUSTOM lets the origin pass */
typedef ngx_gcs_cors_match_e (*ngx_gcs_cors_match_pt)(void *data,
    ngx_gcs_cors_pattern_t *pattern, ngx_gcs_cors_origin_t *origin);


typedef struct {
    ngx_str_t                   *origin;   /* as sent; NULL: none was */
    ngx_str_t                   *method;   /* NULL: does not matter */
    ngx_str_t                   *headers;  /* asked for; NULL: none */
    ngx_gcs_cors_match_pt        match;
    void                        *data;     /* for it */
} ngx_gcs_cors_query_t;


/* how far the best rule has got */

typedef enum {
    NGX_GCS_CORS_ALLOWED = 0,
    NGX_GCS_CORS_NO_ORIGIN,
    NGX_GCS_CORS_NO_METHOD,
    NGX_GCS_CORS_NO_HEADER
} ngx_gcs_cors_refusal_e;


typedef struct {
    ngx_gcs_cors_rule_t         *rule;     /* NULL: refused */
    ngx_uint_t                   any;      /* the origin to answer is "*" */
    ngx_uint_t                   varies;   /* others may be told otherwise */
    ngx_gcs_cors_refusal_e       refusal;
} ngx_gcs_cors_answer_t;


/* ngx_gcs_cors_origin.c */

/*
 * Reads the serialization of an origin, RFC 6454 6.2, or "null", and makes it
 * the one that a browser would send: lower case, no default port.  Nothing
 * but an origin passes: no user, path, trailing dot, escape, or name that is
 * not ASCII.  Returns NULL, or what is wrong, with the remedy.
 */
char *ngx_gcs_cors_origin(ngx_gcs_cors_origin_t *origin, ngx_str_t *text);

/*
 * Reads what a rule has: an origin, "*", or an origin whose host begins with
 * "*.", which stands for one label.  The pattern points into buf.  Returns
 * NULL, or what is wrong.
 */
char *ngx_gcs_cors_pattern(ngx_gcs_cors_pattern_t *pattern, ngx_str_t *text,
    ngx_gcs_cors_origin_t *buf);

/* whether the pattern, which is not of kind CUSTOM, lets the origin pass */
ngx_gcs_cors_match_e ngx_gcs_cors_match(ngx_gcs_cors_pattern_t *pattern,
    ngx_gcs_cors_origin_t *origin);


/* ngx_gcs_cors.c */

/* whether it can be the name of a method or header, RFC 9110 5.6.2 */
ngx_uint_t ngx_gcs_cors_token(ngx_str_t *text);

/* whether a rule can have the method: one that HTTP knows, or "*" */
ngx_uint_t ngx_gcs_cors_known_method(ngx_str_t *name);

/* makes what follows from the rest of the rule; NGX_ERROR if memory is out */
ngx_int_t ngx_gcs_cors_complete(ngx_pool_t *pool, ngx_gcs_cors_rule_t *rule);

/*
 * Why browsers, or reason, would not stand for the rule with credentials:
 * the name of what it has a "*" in, "origin" or "expose"; or NULL.
 */
char *ngx_gcs_cors_conflict(ngx_gcs_cors_rule_t *rule);

/*
 * Finds the first of the rules that lets origin, method and the headers pass.
 * (https://cloud.google.com/storage/docs/cross-origin#server-side-support)
 */
void ngx_gcs_cors_decide(ngx_array_t *rules, ngx_gcs_cors_query_t *query,
    ngx_gcs_cors_answer_t *answer);


/* ngx_gcs_cors_file.c */

/*
 * Reads the CORS configuration of a bucket, JSON, as "gcloud storage buckets
 * update --cors-file" takes it.  Adds to rules, of ngx_gcs_cors_rule_t, which
 * are still to be completed.  NGX_OK; NGX_DECLINED and *err, from pool, what
 * is wrong with which member; NGX_ERROR if memory is out.
 * (https://cloud.google.com/storage/docs/json_api/v1/buckets#cors)
 */
ngx_int_t ngx_gcs_cors_file(ngx_pool_t *pool, ngx_str_t *json,
    ngx_array_t *rules, ngx_str_t *err);


#endif /* _NGX_GCS_CORS_H_INCLUDED_ */
