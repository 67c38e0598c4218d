//! Paged results and limits.
use std::collections::HashSet;

use ldap3::adapters::{Adapter, EntriesOnly, PagedResults};
use ldap3::controls::{Control, ControlType, PagedResults as PageControl};
use ldap3::{Ldap, Scope, SearchEntry, SearchOptions};

use crate::demo::directory::tests::{BASE, bound, company};

async fn page(
    ldap: &mut Ldap,
    size: i32,
    cookie: Vec<u8>,
    filter: &str,
) -> (Vec<String>, u32, Option<Vec<u8>>) {
    let control = PageControl { size, cookie };
    let search = ldap
        .with_controls(control)
        .search(BASE, Scope::Subtree, filter, vec!["1.1"]);
    let ldap3::SearchResult(found, result) = search.await.unwrap();
    let names = found
        .into_iter()
        .map(|entry| SearchEntry::construct(entry).dn)
        .collect();
    let cookie = result
        .ctrls
        .iter()
        .find_map(|Control(kind, raw)| match kind {
            Some(ControlType::PagedResults) => Some(raw.parse::<PageControl>().cookie),
            _ => None,
        });
    (names, result.rc, cookie)
}

#[tokio::test]
async fn pages_follow_each_other_to_the_end() {
    let directory = company();
    let mut ldap = bound(&directory).await;
    for size in [1, 7, 25, 26] {
        let (mut seen, mut cookie, mut pages) = (Vec::new(), Vec::new(), 0);
        loop {
            let (names, rc, next) = page(&mut ldap, size, cookie, "(objectClass=person)").await;
            assert_eq!(rc, 0);
            seen.extend(names);
            pages += 1;
            cookie = next.expect("every page carries the control");
            if cookie.is_empty() {
                break;
            }
        }
        assert_eq!(
            (seen.len(), pages),
            (25, (25 + size - 1) / size),
            "page size {size}"
        );
        assert_eq!(
            seen.iter().collect::<HashSet<_>>().len(),
            25,
            "page size {size}"
        );
    }
    let adapters: Vec<Box<dyn Adapter<_, _>>> = vec![
        Box::new(EntriesOnly::new()),
        Box::new(PagedResults::new(10)),
    ];
    let search =
        ldap.streaming_search_with(adapters, BASE, Scope::Subtree, "(mail=*)", vec!["mail"]);
    let mut search = search.await.unwrap();
    let mut found = 0;
    while search.next().await.unwrap().is_some() {
        found += 1;
    }
    assert_eq!((found, search.finish().await.rc), (25, 0));
}

#[tokio::test]
async fn a_cookie_is_good_once_for_its_search_on_its_connection() {
    let directory = company();
    let mut ldap = bound(&directory).await;
    let (_, _, cookie) = page(&mut ldap, 5, vec![], "(mail=*)").await;
    let cookie = cookie.unwrap();
    let mut other = bound(&directory).await;
    assert_eq!(
        page(&mut other, 5, cookie.clone(), "(mail=*)").await.1,
        53,
        "another connection"
    );
    assert_eq!(
        page(&mut ldap, 5, cookie.clone(), "(uid=*)").await.1,
        53,
        "another search"
    );
    assert_eq!(page(&mut ldap, 5, cookie, "(mail=*)").await.1, 53, "spent");
    let (_, _, cookie) = page(&mut ldap, 5, vec![], "(mail=*)").await;
    let (names, rc, end) = page(&mut ldap, 0, cookie.unwrap(), "(mail=*)").await;
    assert_eq!((names.len(), rc, end), (0, 0, Some(vec![])), "given up");
}

#[tokio::test]
async fn the_size_limit_ends_a_search_with_rc_4() {
    let mut ldap = bound(&company()).await;
    for (limit, found, rc) in [(10, 10, 4), (25, 25, 0), (0, 25, 0)] {
        let options = SearchOptions::new().sizelimit(limit);
        let search =
            ldap.with_search_options(options)
                .search(BASE, Scope::Subtree, "(mail=*)", vec!["1.1"]);
        let ldap3::SearchResult(entries, result) = search.await.unwrap();
        assert_eq!((entries.len(), result.rc), (found, rc), "limit {limit}");
    }
    ldap.with_search_options(SearchOptions::new().sizelimit(8));
    let (names, rc, cookie) = page(&mut ldap, 5, vec![], "(mail=*)").await;
    assert_eq!((names.len(), rc), (5, 0));
    ldap.with_search_options(SearchOptions::new().sizelimit(8));
    let (names, rc, cookie) = page(&mut ldap, 5, cookie.unwrap(), "(mail=*)").await;
    assert_eq!(
        (names.len(), rc, cookie),
        (3, 4, Some(vec![])),
        "the limit counts over all pages"
    );
}
