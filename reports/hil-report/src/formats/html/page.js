(function(){var pressed=null,text=document.getElementById('find'),runs=[].slice.call(document.querySelectorAll('details.run')),
buttons=[].slice.call(document.querySelectorAll('.chips button'));
function show(){var t=text.value.toLowerCase();runs.forEach(function(r){r.hidden=(pressed&&r.dataset.verdict!==pressed)||(t&&r.dataset.find.indexOf(t)<0)||false})}
buttons.forEach(function(b){b.hidden=false;b.onclick=function(){pressed=pressed===b.dataset.verdict?null:b.dataset.verdict;
buttons.forEach(function(o){o.setAttribute('aria-pressed',String(o.dataset.verdict===pressed))});show()}});
text.hidden=false;text.oninput=show;
function open(){var r=location.hash&&document.getElementById(decodeURIComponent(location.hash.slice(1)));if(r&&r.tagName==='DETAILS')r.open=true}
window.addEventListener('hashchange',open);open()})();
